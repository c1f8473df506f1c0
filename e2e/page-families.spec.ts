/** The fields follow the model: fields that a model does not have are hidden, and fields of a distilled model have the values that it needs. */

import { expect, generate, modelReady, openPage, size, test } from './ui/page-harness.js'

test('a guidance-free model that takes reference pictures shows neither guidance nor strength, and looks at the picture', async ({
  page,
  server,
}) => {
  server.setRepository('owner/klein', 'fixtures/tiny-flux2-klein/repo')
  await openPage(page, server, { model: 'owner/klein', steps: '2', width: '64', height: '64' })
  const made = () => page.evaluate(() => document.querySelector('aquatint-prompt')?.images[0]?.data.join())
  await generate(page, 'a red apple')
  const fromWords = await made()
  await page.getByText('Settings', { exact: true }).click()
  await expect(page.getByText('no guidance')).toBeVisible()
  await expect(page.getByLabel('Guidance')).toBeHidden()
  await expect(page.getByLabel('Negative prompt')).toBeHidden()
  await expect(page.getByLabel('Prompt weights')).toBeHidden()
  await expect(page.getByLabel('CLIP skip')).toBeHidden()

  const chooser = page.waitForEvent('filechooser')
  await page.getByRole('button', { name: 'Add reference pictures' }).click()
  await (await chooser).setFiles('public/icons/icon-192.png')
  await expect(page.getByText('Say in the prompt what to do with them.')).toBeVisible()
  await expect(page.getByRole('slider')).toBeHidden()
  await generate(page, 'a red apple')
  const withReference = await made()
  expect(withReference).not.toBe(fromWords)
  expect(await page.evaluate(() => document.querySelector('aquatint-prompt')?.settings)).not.toHaveProperty('strength')

  // The base model has guidance, but its class has no negative prompt.
  server.setRepository('owner/base', 'fixtures/tiny-flux2-klein-base/repo')
  await openPage(page, server, { model: 'owner/base' })
  await modelReady(page)
  await page.getByText('Settings', { exact: true }).click()
  await expect(page.getByLabel('Guidance')).toBeVisible()
  await expect(page.getByLabel('Negative prompt')).toBeHidden()
  await expect(page.getByLabel('True CFG')).toBeHidden()

  await test.step('FLUX.1 takes a negative prompt with a true CFG scale', async () => {
    server.setRepository('owner/flux', 'fixtures/tiny-flux/repo')
    await openPage(page, server, { model: 'owner/flux', steps: '2', width: '32', height: '32', seed: '1' })
    await generate(page, 'a red apple')
    const plain = await made()
    await page.getByText('Settings', { exact: true }).click()
    await expect(page.getByLabel('Negative prompt')).toBeHidden()
    await page.getByLabel('True CFG').fill('4')
    await page.getByLabel('Negative prompt').fill('green')
    await generate(page, 'a red apple')
    expect(await made()).not.toBe(plain)
    await page.getByLabel('True CFG').fill('')
    await expect(page.getByLabel('Negative prompt')).toBeHidden()
    expect(await page.evaluate(() => document.querySelector('aquatint-prompt')?.settings)).not.toHaveProperty('negativePrompt')
  })
})

test('a distilled model brings the steps and the guidance of its card, which a typed value replaces', async ({
  page,
  server,
}) => {
  server.setRepository('stabilityai/sdxl-turbo', 'fixtures/tiny-sdxl/repo')
  await openPage(page, server, { model: 'stabilityai/sdxl-turbo', steps: '' })
  await page.getByText('Settings', { exact: true }).click()
  await expect(page.getByLabel('Steps')).toHaveAttribute('placeholder', '1')
  await expect(page.getByLabel('Guidance')).toHaveAttribute('placeholder', '0')
  // A negative prompt has an effect only with guidance.
  await expect(page.getByText('no guidance')).toHaveCount(2)
  await expect(page.getByLabel('Negative prompt')).toBeHidden()
  await page.getByLabel('Guidance').fill('2')
  await expect(page.getByLabel('Negative prompt')).toBeVisible()
  await page.getByLabel('Guidance').fill('')
  const settings = () => page.evaluate(() => document.querySelector('aquatint-prompt')?.settings)
  expect(await settings()).toMatchObject({ numInferenceSteps: 1, guidanceScale: 0 })
  await generate(page, 'a red apple')
  await page.getByLabel('Steps').fill('2')
  expect(await settings()).toMatchObject({ numInferenceSteps: 2, guidanceScale: 0 })

  await test.step('a tiny autoencoder decodes the previews, which leaves the picture as it is', async () => {
    server.setRepository('madebyollin/taesdxl', 'fixtures/few-steps/tiny-vae/repo/vae')
    const picture = () => page.evaluate(() => document.querySelector('aquatint-prompt')?.images[0]?.data.join())
    await page.evaluate(() => {
      document.querySelector('aquatint-prompt')?.addEventListener('step', ({ detail: { preview } }) => {
        document.body.dataset['preview'] = `${preview?.width} × ${preview?.height}`
      })
    })
    await generate(page, 'a red apple')
    const rough = await picture()
    await expect(page.locator('body')).toHaveAttribute('data-preview', `${size / 8} × ${size / 8}`)
    await page.getByLabel('Previews').selectOption('Sharp')
    await generate(page, 'a red apple')
    expect(await picture()).toBe(rough)
    // With this tiny autoencoder, a latent pixel is four pixels wide; with the model's autoencoder, it is eight.
    await expect(page.locator('body')).toHaveAttribute('data-preview', `${size / 2} × ${size / 2}`)
  })
})
