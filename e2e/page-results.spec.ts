/** Pictures are stored, opened, compared, reused, saved with their settings, and restored from a file. */

import { readFileSync } from 'node:fs'
import { encodePng } from '../src/engine/client/png.js'
import { expect, generate, model, openPage, size, test } from './ui/page-harness.js'

test('a picture is stored for the next visit, its settings can be used again, and a deleted picture is gone', async ({
  page,
  server,
}) => {
  await openPage(page, server)
  await generate(page, 'a red apple')
  const print = page.getByRole('button', { name: 'Open: a red apple' })
  const dialog = page.getByRole('dialog')
  await page.getByLabel('Prompt', { exact: true }).fill('something else')
  await print.click()
  await page.getByRole('button', { name: 'Use these settings' }).click()
  await expect(page.getByLabel('Prompt', { exact: true })).toHaveValue('a red apple')
  expect(await page.evaluate(() => document.querySelector('aquatint-prompt')?.settings.seed)).toBe(7)

  await page.goto('/')
  await print.click()
  await expect(dialog.getByRole('img', { name: 'Picture for: a red apple' })).toBeVisible()
  await expect(dialog.getByText(model)).toBeVisible()
  await expect(dialog.getByText(await server.commit(model))).toBeVisible()
  await page.keyboard.press('Escape')
  await expect(dialog).toBeHidden()

  await print.click()
  await page.getByRole('button', { name: 'Delete' }).click()
  await expect(print).toBeHidden()
  const kept = await page.evaluate(
    () =>
      new Promise<number>((resolve) => {
        const opening = indexedDB.open('aquatint-gallery')
        opening.onsuccess = () => {
          const count = opening.result.transaction('entries').objectStore('entries').count()
          count.onsuccess = () => resolve(count.result)
        }
      }),
  )
  expect(kept).toBe(0)
})

test('a picture is copied and saved, from the box and from the gallery, and shared, with its settings', async ({
  page,
  server,
  context,
}) => {
  await context.grantPermissions(['clipboard-read', 'clipboard-write'])
  await openPage(page, server)
  await generate(page, 'a red apple & more')
  const print = page.getByRole('button', { name: 'Open: a red apple & more' })
  const prompt = page.getByLabel('Prompt', { exact: true })
  const settings = () => page.evaluate(() => document.querySelector('aquatint-prompt')?.settings)

  const copied = () =>
    page.evaluate(async () => {
      const [item] = await navigator.clipboard.read()
      const picture = await item?.getType('image/png')
      if (picture === undefined) throw new Error('Nothing was copied')
      await navigator.clipboard.writeText('')
      const { width, height } = await createImageBitmap(picture)
      return { width, height }
    })
  await page.getByRole('button', { name: 'Copy', exact: true }).click()
  await expect(page.getByRole('button', { name: 'Copied' })).toBeVisible()
  expect(await copied()).toEqual({ width: size, height: size })
  await print.click()
  await page.getByRole('button', { name: 'Copy picture' }).click()
  await expect(page.getByText('Picture copied.')).toBeVisible()
  expect(await copied()).toEqual({ width: size, height: size })

  await page.getByRole('button', { name: 'Copy link' }).click()
  await expect(page.getByText('Link copied.')).toBeVisible()
  const link = new URL(await page.evaluate(() => navigator.clipboard.readText()))
  expect(Object.fromEntries(link.searchParams)).toMatchObject({
    model,
    prompt: 'a red apple & more',
    seed: '7',
    steps: '2',
    revision: await server.commit(model),
  })

  // The dialog is closed in the same task in which “Save PNG” is pressed.
  const fromGallery = page.waitForEvent('download')
  await page.getByRole('dialog').evaluate((dialog: HTMLDialogElement) => {
    const save = [...dialog.querySelectorAll('button')].find(({ textContent }) => textContent === 'Save PNG')
    save?.click()
    dialog.close()
  })
  const kept = readFileSync(await (await fromGallery).path())
  expect([kept.readUInt32BE(16), kept.readUInt32BE(20)]).toEqual([size, size])
  expect(kept.includes('Seed: 7')).toBe(true)
  const fromBox = page.waitForEvent('download')
  await page.getByRole('button', { name: 'Save PNG' }).click()
  const saved = await fromBox
  expect(saved.suggestedFilename()).toBe('a-red-apple-more-7.png')
  const bytes = readFileSync(await saved.path())
  expect([bytes.readUInt32BE(16), bytes.readUInt32BE(20)]).toEqual([size, size])

  await test.step('the saved PNG dropped on the page restores the settings; other files do not', async () => {
    await page.goto('/')
    const drop = (name: string, base64: string) =>
      page.evaluate(
        ([fileName, data]) => {
          const transfer = new DataTransfer()
          transfer.items.add(new File([Uint8Array.from(atob(data), (character) => character.charCodeAt(0))], fileName))
          document.documentElement.dispatchEvent(
            new DragEvent('drop', { dataTransfer: transfer, bubbles: true, cancelable: true }),
          )
        },
        [name, base64] as const,
      )
    await drop('a-red-apple-more-7.png', bytes.toString('base64'))
    await expect(prompt).toHaveValue('a red apple & more')
    expect(await settings()).toMatchObject({ model, seed: 7, numInferenceSteps: 2, width: size, height: size })
    await drop('words.png', Buffer.from('no picture').toString('base64'))
    await expect(page.getByText('words.png: This file is not a whole PNG')).toBeVisible()

    // These are parameters as AUTOMATIC1111's web UI writes them: a prompt with weights, and a LoRA whose file the page does not have.
    const parameters = [
      'a (red:1.3) fox <lora:dogs:0.8>',
      'Negative prompt: blurry',
      'Steps: 5, Sampler: DPM++ 2M Karras, CFG scale: 6.5, Seed: 4021, Size: 64x48, Clip skip: 2, Version: v1.10.1',
    ].join('\n')
    const pixels = { width: 8, height: 8, data: new Uint8ClampedArray(8 * 8 * 4).fill(255) }
    const picture = Buffer.from(await encodePng(pixels, { parameters }))
    await drop('00001-4021.png', picture.toString('base64'))
    await expect(prompt).toHaveValue('a (red:1.3) fox')
    await page.getByText('Settings', { exact: true }).click()
    await expect(page.getByLabel('Prompt weights')).toHaveValue('a1111')
    await expect(page.getByLabel('CLIP skip')).toHaveValue('1')
    await expect(page.getByText('Only its name is known: drop the file on the page, or remove it here.')).toBeVisible()
    expect(await settings()).toEqual({
      model,
      prompt: 'a (red:1.3) fox',
      negativePrompt: 'blurry',
      numInferenceSteps: 5,
      scheduler: 'DPMSolverMultistepScheduler',
      sigmaSchedule: 'karras',
      guidanceScale: 6.5,
      seed: 4021,
      width: 64,
      height: 48,
      clipSkip: 1,
      promptWeighting: 'a1111',
      loras: [{ source: 'dogs.safetensors', weight: 0.8 }],
    })
  })
  await test.step('the shared link sets everything', async () => {
    link.searchParams.set('endpoint', server.url)
    await page.goto(link.href)
    await expect(prompt).toHaveValue('a red apple & more')
  })
})

test('two pictures are compared, and differing settings are marked; the page says when copying is not allowed', async ({
  page,
  server,
}) => {
  await page.addInitScript(() => {
    Clipboard.prototype.write = () => Promise.reject(new DOMException('Write permission denied.', 'NotAllowedError'))
  })
  await openPage(page, server)
  await generate(page, 'a red apple')
  await page.getByRole('button', { name: 'Copy', exact: true }).click()
  await expect(page.getByRole('button', { name: 'Copying is not allowed here' })).toBeVisible()
  await page.getByRole('button', { name: 'Open: a red apple' }).click()
  await page.getByRole('button', { name: 'Copy picture' }).click()
  await expect(page.getByText('The browser did not allow copying.')).toBeVisible()
  await page.keyboard.press('Escape')

  await generate(page, 'a blue boat')
  const compare = page.getByRole('button', { name: 'Compare two' })
  await expect(compare).toBeDisabled()
  await page.getByLabel('Compare: a red apple').check()
  await page.getByLabel('Compare: a blue boat').check()
  await compare.click()
  await expect(page.locator('tr.differs')).toHaveText([/a red apple.*a blue boat/])
  await page.getByRole('slider').fill('20')
  await expect(page.locator('.pair')).toHaveCSS('--split', '20%')
})
