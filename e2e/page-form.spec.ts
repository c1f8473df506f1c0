/** The form never contradicts itself, and says what it does: invalid fields, an empty prompt, a running load, steps as they happen. */

import { expect, nextEvent, openPage, state, test } from './ui/page-harness.js'

test('invalid fields are marked when they are left and named in the message, which disappears when they are valid', async ({
  page,
  server,
}) => {
  // The model does not arrive until the test has looked at the form.
  server.setFaults({ rules: [{ match: { host: 'cdn' }, stallAfter: 0 }] })
  await openPage(page, server, { prompt: '' })
  const box = page.locator('aquatint-prompt')
  const message = box.locator('.message')
  const [width, steps] = [page.getByLabel('Width'), page.getByLabel('Steps')]
  const generate = page.getByRole('button', { name: 'Generate', exact: true })
  await expect(box.locator('.headline')).toHaveText('Downloading')
  // Only a load runs: the user can cancel it, and can request a picture.
  await expect(page.getByRole('button', { name: 'Cancel loading' })).toBeVisible()
  await expect(generate).toBeVisible()

  await page.getByText('Settings', { exact: true }).click()
  await width.fill('500')
  await expect(width).not.toHaveAttribute('aria-invalid', 'true')
  await width.blur()
  await expect(width).toHaveAttribute('aria-invalid', 'true')
  await expect(box.locator('#width-error')).toHaveText('Width must be a multiple of 8, such as 496 or 504.')
  await expect(message).toBeHidden()
  await steps.fill('0')
  await page.getByLabel('Prompt', { exact: true }).fill('a red apple')
  await generate.click()
  await expect(message).toContainText(
    'Width must be a multiple of 8, such as 496 or 504. Steps must be a number from 1 to 10000.',
  )
  await expect(width).toBeFocused()
  // No run was started: the load continues, no bar is full, and both buttons have the same labels as before.
  expect(await state(page)).toBe('loading')
  await expect(box.locator('.headline')).toHaveText('Downloading')
  await expect(page.getByRole('button', { name: 'Cancel loading' })).toBeVisible()
  await expect(generate).toBeVisible()
  const bars = () => box.locator('.stages .fill').evaluateAll((all) => all.map((bar) => Number(bar.style.scale.split(' ')[0])))
  expect((await bars()).every((bar) => bar < 1)).toBe(true)
  await width.fill('32')
  await expect(width).not.toHaveAttribute('aria-invalid', 'true')
  await expect(message).toBeVisible()
  await steps.fill('2')
  await expect(message).toBeHidden()

  // The box asks whether to generate without a prompt. The question disappears when the user types a prompt.
  await page.getByLabel('Prompt', { exact: true }).fill(' ')
  await generate.click()
  await expect(message).toContainText('The prompt is empty.')
  await expect(page.getByLabel('Prompt', { exact: true })).toBeFocused()
  await page.getByLabel('Prompt', { exact: true }).fill('a')
  await expect(message).toBeHidden()
  await page.getByLabel('Prompt', { exact: true }).fill('')
  await generate.click()
  const made = nextEvent(page, 'image')
  /** The number of `step` events in each task that had any. */
  const together = page.evaluate(
    () =>
      new Promise<readonly number[]>((resolve) => {
        const counts: number[] = []
        let count = 0
        const element = document.querySelector('aquatint-prompt')
        element?.addEventListener('step', () => {
          if (count++ > 0) return
          queueMicrotask(() => {
            counts.push(count)
            count = 0
          })
        })
        element?.addEventListener('image', () => resolve(counts), { once: true })
      }),
  )
  await page.getByRole('button', { name: 'Generate without a prompt' }).click()
  await expect(message).toBeHidden()
  await expect(generate).toBeHidden()
  await expect(page.getByRole('button', { name: 'Cancel', exact: true })).toBeVisible()
  server.setFaults({})
  server.dropConnections()
  await made
  // Each step was sent when it happened, without waiting for the next one. PNDM runs one step more than requested.
  expect(await together).toEqual([1, 1, 1])
  await expect.poll(bars).toEqual([1, 1, 1, 1])

  // Before the run, the page estimates how long a large picture takes on this machine.
  await width.fill('1024')
  await page.getByLabel('Height').fill('1024')
  await expect(box.locator('.details')).toHaveText('On the CPU, 1024 × 1024 takes minutes')
  await width.fill('32')
  await page.getByLabel('Height').fill('16')
  await expect(box.locator('.details')).toHaveText(/^encode/)

  // A start picture is cropped to the size of the result.
  await page.locator('input[type=file][accept="image/*"]:not([multiple])').setInputFiles('public/icons/icon-192.png')
  await expect(box.locator('#start-fit')).toHaveText('Cropped at the top and the bottom to fit 32 × 16.')

  // The newly chosen model is not loaded, so the page must not say that a model is ready.
  await page.getByLabel('Repository, URL or path').fill('./other')
  await page.getByLabel('Repository, URL or path').blur()
  await expect.poll(bars).toEqual([0, 0, 0, 0])
  await expect(box.locator('.headline')).toHaveText('')
})
