/** A checkpoint in one file on the page: by its address, and dropped from the disk. */

import { readFileSync } from 'node:fs'
import { singleFileOf } from '../src/checkpoint/layouts/single-file/testing.node.js'
import { readRepository, withJson } from './fixture-repository.js'
import { startHubServer } from './hub-server/server.js'
import { dropFile, expect, generate, modelReady, nextEvent, openPage, test } from './ui/page-harness.js'

const configs = 'stable-diffusion-v1-5/stable-diffusion-v1-5'

test('a checkpoint in one file makes the same picture by its address and dropped on the page', async ({ page, server }) => {
  const bytes = await singleFileOf('tiny-sd15')
  server.setRepository('a/one', { 'mine.safetensors': bytes })
  server.setRepository(configs, 'fixtures/tiny-sd15/repo')
  const picture = () => page.evaluate(() => [...(document.querySelector('aquatint-prompt')?.images[0]?.data ?? [])].join(','))

  await openPage(page, server, { model: `${server.url}/a/one/blob/main/mine.safetensors` })
  await modelReady(page)
  await generate(page, 'a red apple')
  const byAddress = await picture()
  expect(byAddress.split(',')).toHaveLength(32 * 32 * 4)

  // Weights come from the file alone; the repository of the family gives the configs.
  const fetched = server.log.map(({ path }) => path)
  expect(fetched.filter((path) => path.includes(configs) && path.includes('.safetensors'))).toEqual([])

  await dropFile(page, 'mine.safetensors', bytes)
  await expect(page.getByText('The model is now the file mine.safetensors.')).toBeVisible()
  await generate(page, 'a red apple')
  expect(await picture()).toBe(byAddress)

  await test.step('a dropped GGUF file is the transformer of a model whose other components come from its family’s repository', async () => {
    server.setRepository('stabilityai/stable-diffusion-3-medium-diffusers', 'fixtures/tiny-sd35/repo')
    await dropFile(page, 'quantized.gguf', readFileSync('fixtures/gguf/transformer.gguf'))
    await expect(page.getByText('The model is now the file quantized.gguf.')).toBeVisible()
    await generate(page, 'a red apple')
    const info = await page.evaluate(() => document.querySelector('aquatint-prompt')?.pipeline?.info)
    expect(info?.className).toBe('StableDiffusion3Pipeline')
    expect(info?.components['transformer']).toMatchObject({ quantization: 'q8' })
    expect(info?.components['vae']?.repo).toBe('stabilityai/stable-diffusion-3-medium-diffusers')
  })

  await test.step('a checkpoint in one file is picked with “File…”', async () => {
    const chooser = page.waitForEvent('filechooser')
    await page.getByRole('button', { name: 'File…' }).click()
    const picked = { name: 'mine.safetensors', mimeType: '', buffer: Buffer.from(await singleFileOf('tiny-sd15')) }
    await (await chooser).setFiles(picked)
    await expect(page.getByLabel('Repository, URL or path')).toHaveValue('mine.safetensors')
    await generate(page, 'a blue boat')
    await expect(page.getByRole('img', { name: 'a blue boat' })).toBeVisible()
  })

  const choose = (id: string) =>
    page.evaluate((name) => {
      const box = document.querySelector('aquatint-prompt')
      if (box !== null) box.model = name
    }, id)

  await test.step('the error for a file that is no checkpoint says what the file is', async () => {
    const header = '{"lora_unet_x.lora_up.weight":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    const file = Buffer.alloc(8 + header.length + 4)
    file.writeBigUInt64LE(BigInt(header.length))
    file.write(header, 8)
    server.setRepository('a/lora', { 'style.safetensors': file })
    const refused = nextEvent(page, 'error').catch(() => {})
    await choose(`${server.url}/a/lora/blob/main/style.safetensors`)
    await page.getByRole('button', { name: 'Generate' }).click()
    await refused
    await expect(page.getByText('style.safetensors is a LoRA', { exact: false }).first()).toBeVisible()
  })

  await test.step('what loading ignored is listed', async () => {
    const files = readRepository('fixtures/tiny-sd15/repo')
    server.setRepository(
      'a/odd',
      withJson(files, 'unet/config.json', (config) => (config['made_up_key'] = 3)),
    )
    await choose('a/odd')
    await generate(page, 'a red apple')
    await page.getByText('Notes on this model: 1').click()
    await expect(page.getByRole('listitem').filter({ hasText: 'made_up_key' })).toHaveText(/^unet: /)
  })
})

test('a token opens a gated model, and is in no storage', async ({ page }) => {
  const server = await startHubServer({
    repositories: { 'a/gated': readRepository('fixtures/tiny-sd15/repo') },
    gated: { 'a/gated': 'hf_secret' },
  })
  try {
    await openPage(page, server, { model: 'a/gated' })
    // The bundled model needs no token.
    const models = page.getByLabel('Model', { exact: true })
    await models.selectOption({ index: 0 })
    await expect(page.getByText('Access token', { exact: true })).toBeHidden()
    await models.selectOption({ label: 'Another model…' })
    await page.getByLabel('Repository, URL or path').fill('a/gated')
    await page.getByText('Access token', { exact: true }).click()
    await page.getByLabel('Token for gated models').fill('hf_secret')
    await page.getByLabel('Token for gated models').blur()
    await generate(page, 'a red apple')
    await expect(page.getByRole('img', { name: 'a red apple' })).toBeVisible()
    const kept = await page.evaluate(() =>
      JSON.stringify([Object.entries(localStorage), Object.entries(sessionStorage), location.href]),
    )
    expect(kept).not.toContain('hf_secret')
    expect(server.log.some(({ path, query }) => `${path}${query}`.includes('hf_secret'))).toBe(false)
  } finally {
    await server.close()
  }
})
