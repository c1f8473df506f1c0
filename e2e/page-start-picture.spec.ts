/** Start pictures: picked, dropped or pasted, and used by models that support them (docs/pipelines.md). */

import { readFileSync } from 'node:fs'
import type { Page } from '@playwright/test'
import { readRepository, withoutTensors } from './fixture-repository.js'
import { expect, generate, model, openPage, size, test } from './ui/page-harness.js'

const picture = 'public/icons/icon-192.png'

/** The pixels of the last result. */
function pixels(page: Page): Promise<readonly number[]> {
  return page.evaluate(() => [...(document.querySelector('aquatint-prompt')?.images[0]?.data ?? [])])
}

/** Drops or pastes the icon on the page. */
async function give(page: Page, how: 'drop' | 'paste', name = 'apple.png'): Promise<void> {
  await page.evaluate(
    ([data, event, fileName]) => {
      const transfer = new DataTransfer()
      const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0))
      transfer.items.add(new File([bytes], fileName, { type: 'image/png' }))
      const given = { bubbles: true, cancelable: true, composed: true }
      document.body.dispatchEvent(
        event === 'drop'
          ? new DragEvent('drop', { ...given, dataTransfer: transfer })
          : new ClipboardEvent('paste', { ...given, clipboardData: transfer }),
      )
    },
    [readFileSync(picture).toString('base64'), how, name] as const,
  )
}

test('a run starts from a picked picture, the strength changes the result, and Remove leaves only the prompt', async ({
  page,
  server,
}) => {
  await openPage(page, server, { steps: '4' })
  await generate(page, 'a red apple')
  const fromWords = await pixels(page)

  const chooser = page.waitForEvent('filechooser')
  await page.getByRole('button', { name: 'Start from a picture' }).click()
  await (await chooser).setFiles(picture)
  await expect(page.getByRole('img', { name: 'The picture to start from' })).toBeVisible()
  const strength = page.getByLabel('Strength')
  await expect(strength).toHaveAttribute('aria-valuetext', '60%')
  await generate(page, 'a red apple')
  const half = await pixels(page)
  expect(half).toHaveLength(4 * size * size)
  expect(half).not.toEqual(fromWords)
  await strength.fill('0.9')
  await generate(page, 'a red apple')
  expect(await pixels(page)).not.toEqual(half)
  await strength.fill('0.6')
  await generate(page, 'a red apple')
  expect(await pixels(page)).toEqual(half)
  expect(await page.evaluate(() => document.querySelector('aquatint-prompt')?.settings.strength)).toBe(0.6)

  // The gallery stores the start picture too, so that the settings reproduce the result.
  await page.getByRole('button', { name: 'Remove the picture to start from' }).click()
  await generate(page, 'a red apple')
  expect(await pixels(page)).toEqual(fromWords)
  // The gallery shows pictures that are stored, the newest first.
  const kept = page.getByRole('button', { name: 'Open: a red apple' })
  await expect(kept).toHaveCount(5)
  await kept.nth(1).click()
  await expect(page.getByRole('dialog').getByText('Strength')).toBeVisible()
  await page.getByRole('button', { name: 'Use these settings' }).click()
  await expect(strength).toBeVisible()
  await generate(page, 'a red apple')
  expect(await pixels(page)).toEqual(half)

  await test.step('a strength that leaves no step is rejected with a message', async () => {
    // With PNDM, the model's own scheduler, 4 steps have 5 timesteps, so at least one runs at any strength. With DDIM they have 4.
    await page.evaluate(() => {
      const box = document.querySelector('aquatint-prompt')
      if (box !== null) box.settings = { ...box.settings, scheduler: 'DDIMScheduler' }
    })
    await strength.fill('0.2')
    await page.getByRole('button', { name: 'Generate' }).click()
    await expect(page.getByText('strength is 0.2, which leaves no step of 4')).toBeVisible()
  })

  await test.step('a model without an image encoder says so, and generates from the prompt alone', async () => {
    await page.getByRole('button', { name: 'Remove the picture to start from' }).click()
    const files = readRepository(`${model}/repo`)
    const vae = 'vae/diffusion_pytorch_model.safetensors'
    server.setRepository('no/encoder', { ...files, [vae]: withoutTensors(files[vae], /^(encoder|quant_conv)\./) })
    await page.evaluate(() => {
      const box = document.querySelector('aquatint-prompt')
      if (box !== null) box.model = 'no/encoder'
    })
    await generate(page, 'a red apple')
    await expect(page.getByRole('button', { name: 'Start from a picture' })).toBeDisabled()
    await expect(
      page.getByText('Not available: this model cannot read a picture, because its autoencoder has no encoder.'),
    ).toBeVisible()
  })
})

test('a picture not made by Aquatint becomes the start picture, by drop and by paste; a file that is not a picture is rejected', async ({
  page,
}) => {
  for (const how of ['drop', 'paste'] as const) {
    await page.goto('/?model=a/b&strength=0.2')
    await give(page, how)
    await expect(page.getByText('apple.png is now the start picture.')).toBeVisible()
    await expect(page.getByRole('slider')).toBeVisible()
    await expect(page.getByLabel('Strength')).toHaveValue('0.2')
  }

  await page.goto('/?model=a/b')
  await page
    .locator('.start input[type=file]')
    .setInputFiles({ name: 'words.jpg', mimeType: 'image/jpeg', buffer: Buffer.from('words') })
  await expect(page.getByText('The browser cannot decode this file as a picture.')).toBeVisible()
  await expect(page.getByRole('slider')).toBeHidden()
})
