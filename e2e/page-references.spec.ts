/** Reference pictures, for models that take them: several at once, their order, their limits, and the gallery that keeps them. */

import type { Page } from '@playwright/test'
import { expect, generate, openPage, test } from './ui/page-harness.js'

const made = (page: Page) => page.evaluate(() => document.querySelector('aquatint-prompt')?.images[0]?.data.join())

/** The names of the reference pictures in their order. */
const names = (page: Page) =>
  page.evaluate(() =>
    document.querySelector('aquatint-prompt')?.referenceImages.map((picture) => (picture instanceof File ? picture.name : '')),
  )

interface Drawn {
  readonly name: string
  readonly color: string
  readonly width: number
  readonly height: number
}

/** Drops pictures of one color on an element of the box, or on the page. */
function drop(page: Page, selector: string, ...pictures: readonly Drawn[]): Promise<void> {
  return page.evaluate(
    async ([where, drawn]) => {
      const transfer = new DataTransfer()
      for (const { name, color, width, height } of drawn) {
        const canvas = new OffscreenCanvas(width, height)
        const context = canvas.getContext('2d')
        if (context !== null) context.fillStyle = color
        context?.fillRect(0, 0, width, height)
        transfer.items.add(new File([await canvas.convertToBlob()], name, { type: 'image/png' }))
      }
      const target = document.querySelector('aquatint-prompt')?.shadowRoot?.querySelector(where) ?? document.body
      target.dispatchEvent(new DragEvent('drop', { bubbles: true, cancelable: true, composed: true, dataTransfer: transfer }))
    },
    [selector, pictures] as const,
  )
}

const red = { name: 'red.png', color: 'red', width: 64, height: 80 }
const blue = { name: 'blue.png', color: 'blue', width: 96, height: 64 }

test('two pictures are ordered by the keyboard and by dragging, removed, and taken back from the gallery, and the result follows', async ({
  page,
  server,
}) => {
  server.setRepository('owner/klein', 'fixtures/tiny-flux2-klein/repo')
  await openPage(page, server, { model: 'owner/klein', steps: '1', width: '64', height: '64' })
  await generate(page, 'a red apple')

  await drop(page, '.references', red, blue)
  await expect(page.getByRole('img', { name: 'Reference picture 2' })).toBeVisible()
  expect(await names(page)).toEqual(['red.png', 'blue.png'])
  await generate(page, 'a red apple')
  const inOrder = await made(page)

  await page.getByRole('button', { name: 'Move picture 2 earlier' }).focus()
  await page.keyboard.press('Enter')
  expect(await names(page)).toEqual(['blue.png', 'red.png'])
  await expect(page.getByText('Picture 2 is now picture 1.')).toBeVisible()
  // Now the picture is the first, and it still has the focus.
  await expect(page.getByRole('button', { name: 'Move picture 1 later' })).toBeFocused()
  await generate(page, 'a red apple')
  expect(await made(page)).not.toBe(inOrder)
  await page.getByRole('img', { name: 'Reference picture 1' }).dragTo(page.getByRole('img', { name: 'Reference picture 2' }))
  expect(await names(page)).toEqual(['red.png', 'blue.png'])

  // A picture that is in the list twice is shown twice.
  await page.evaluate(() => {
    const box = document.querySelector('aquatint-prompt')
    const [picture] = box?.referenceImages ?? []
    if (box !== null && picture !== undefined) box.referenceImages = [picture, picture]
  })
  await expect(page.getByRole('img', { name: 'Reference picture 1' })).toBeVisible()
  await expect(page.getByRole('img', { name: 'Reference picture 2' })).toBeVisible()

  const remove = page.getByRole('button', { name: 'Remove picture 1' })
  await remove.click()
  await expect(remove).toBeFocused()
  await page.keyboard.press('Enter')
  await expect(page.getByRole('button', { name: 'Add reference pictures' })).toBeFocused()
  expect(await names(page)).toEqual([])

  await test.step('pictures that the model does not take are refused by name, and one that is dropped on the page is one more', async () => {
    await drop(page, '.references', { ...red, name: 'small.png', width: 32 }, { ...red, name: 'long.png', height: 600 }, red)
    await expect(page.getByText('small.png has 32 × 80 pixels; each edge must have at least 64.')).toBeVisible()
    await expect(
      page.getByText('long.png has 64 × 600 pixels; no edge may be more than 8 times as long as the other.'),
    ).toBeVisible()
    expect(await names(page)).toEqual(['red.png'])
    await drop(page, 'none', blue)
    await expect(page.getByText('blue.png is now a reference picture.')).toBeVisible()
    await expect(page.getByRole('img', { name: 'Reference picture 2' })).toBeVisible()
    expect(await names(page)).toEqual(['red.png', 'blue.png'])
  })

  // The gallery stores the reference pictures too: the second of the three results was made with both, in their first order.
  const kept = page.getByRole('button', { name: 'Open: a red apple' })
  await expect(kept).toHaveCount(3)
  await kept.nth(1).click()
  await page.getByRole('button', { name: 'Use these settings' }).click()
  await expect(page.getByRole('img', { name: 'Reference picture 2' })).toBeVisible()
  await generate(page, 'a red apple')
  expect(await made(page)).toBe(inOrder)
})
