/** Every field of the prompt box has an effect, the defaults are the model's own, and a model can come from anywhere (docs/models.md). */

import { resolve } from 'node:path'
import type { Page } from '@playwright/test'
import { readRepository, withFileList } from './fixture-repository.js'
import { expect, generate, model, nextEvent, openPage, size, test } from './ui/page-harness.js'

/** The first picture of the last run, and the number of its pictures, to compare with another run. */
function made(page: Page): Promise<{ count: number; width: number; height: number; pixels: string; seed: number }> {
  return page.evaluate(() => {
    const box = document.querySelector('aquatint-prompt')
    const [image] = box?.images ?? []
    if (box === null || image === undefined) throw new Error('No picture')
    const { width, height, data } = image
    return {
      count: box.images.length,
      width,
      height,
      pixels: data.join(),
      seed: Number(/-(\d+)(?:-1)?\.png/.exec(box.value?.name ?? '')?.[1]),
    }
  })
}

/** Returns a function that returns the number of steps of the last run that began after this call. */
async function countSteps(page: Page): Promise<() => Promise<number>> {
  await page.evaluate(() => {
    document.querySelector('aquatint-prompt')?.addEventListener('step', ({ detail }) => {
      document.body.dataset['steps'] = String(detail.total)
    })
  })
  return async () => Number(await page.evaluate(() => document.body.dataset['steps']))
}

test('size, steps, guidance, negative prompt, scheduler, prompt weights, CLIP skip and the number of pictures each change the result', async ({
  page,
  server,
}) => {
  await openPage(page, server)
  const steps = await countSteps(page)
  await page.getByText('Settings', { exact: true }).click()
  await generate(page, 'a red apple')
  const first = await made(page)
  expect(first).toMatchObject({ count: 1, width: size, height: size, seed: 7 })
  // PNDM, the scheduler of the fixture, runs one step more than requested.
  expect(await steps()).toBe(3)

  const changed = async () => {
    await generate(page, 'a red apple')
    return made(page)
  }
  // First check that the same settings give the same picture: otherwise the comparisons below would prove nothing.
  expect(await changed()).toEqual(first)
  await page.getByLabel('Width').fill('48')
  expect(await changed()).toMatchObject({ width: 48, height: size })
  await page.getByLabel('Width').fill(String(size))
  await page.getByLabel('Steps').fill('3')
  const threeSteps = await changed()
  expect(threeSteps.pixels).not.toBe(first.pixels)
  expect(await steps()).toBe(4)
  await page.getByLabel('Steps').fill('2')
  await page.getByLabel('Guidance').fill('1.5')
  expect((await changed()).pixels).not.toBe(first.pixels)
  await page.getByLabel('Guidance').fill('')
  await page.getByLabel('Negative prompt').fill('green')
  expect((await changed()).pixels).not.toBe(first.pixels)
  await page.getByLabel('Negative prompt').fill('')
  await page.getByLabel('Scheduler', { exact: true }).selectOption('Euler ancestral')
  expect((await changed()).pixels).not.toBe(first.pixels)
  await page.getByLabel('Scheduler', { exact: true }).selectOption('Model default')
  await page.getByText('More about the scheduler').click()
  await page.getByLabel('Timestep spacing').selectOption('Trailing')
  expect((await changed()).pixels).not.toBe(first.pixels)
  await page.getByLabel('Timestep spacing').selectOption('Model default')
  await page.getByLabel('CLIP skip').fill('1')
  expect((await changed()).pixels).not.toBe(first.pixels)
  await page.getByLabel('CLIP skip').fill('')
  await generate(page, 'a (red:1.5) apple')
  const withBrackets = await made(page)
  await page.getByLabel('Prompt weights').selectOption('(word:1.3)')
  await generate(page, 'a (red:1.5) apple')
  expect((await made(page)).pixels).not.toBe(withBrackets.pixels)
  await generate(page, 'a red apple')
  expect(await made(page)).toEqual(first)
  await page.getByLabel('Prompt weights').selectOption('None')
  await page.getByRole('textbox', { name: 'Pictures' }).fill('3')
  expect((await changed()).count).toBe(3)
  await expect(page.getByRole('list', { name: 'Pictures' }).getByRole('img')).toHaveCount(3)
  await page.getByRole('textbox', { name: 'Pictures' }).fill('')

  await test.step('the weights are stored in the chosen type, named as in fromPretrained', async () => {
    await generate(page, 'a red apple')
    const published = await made(page)
    const weights = page.getByLabel('Weights', { exact: true })
    expect(await weights.locator('option').evaluateAll((all) => all.map((option) => option.getAttribute('value')))).toEqual([
      '',
      'float32',
      'float16',
      'q8',
      'q4',
    ])
    const quantization = () =>
      page.evaluate(() => document.querySelector('aquatint-prompt')?.pipeline?.info.components['unet']?.quantization)
    const seen = new Set([published.pixels])
    for (const word of ['q8', 'q4']) {
      await weights.selectOption(word)
      await generate(page, 'a red apple')
      expect(await quantization()).toBe(word)
      seen.add((await made(page)).pixels)
    }
    expect(seen.size).toBe(3)
    expect(await page.evaluate(() => document.querySelector('aquatint-prompt')?.settings.dtype)).toBe('q4')
    await weights.selectOption('As published')
    await generate(page, 'a red apple')
    expect(await quantization()).toBeUndefined()
    expect(await made(page)).toEqual(published)
  })
})

test('Generate can be pressed while the model loads; empty fields show the defaults of the model, and a run uses them', async ({
  page,
  server,
}) => {
  // The model does not arrive before Generate is pressed.
  server.setFaults({ rules: [{ match: { host: 'cdn' }, stallAfter: 0 }] })
  await openPage(page, server, { width: '', height: '', steps: '', seed: '' })
  await expect(page.getByLabel('Width')).toHaveAttribute('placeholder', 'auto')
  await expect(page.getByRole('button', { name: 'Cancel' })).toBeVisible()
  await page.getByText('Settings', { exact: true }).click()
  await page.getByLabel('Steps').fill('1')
  const image = nextEvent(page, 'image')
  await page.getByRole('button', { name: 'Generate' }).click()
  await expect(page.getByRole('button', { name: 'Generate' })).toBeHidden()
  server.setFaults({})
  server.dropConnections()
  await image
  const defaults = await page.evaluate(() => document.querySelector('aquatint-prompt')?.pipeline?.info.defaults)
  const unet = JSON.parse(new TextDecoder().decode(readRepository(`${model}/repo`)['unet/config.json'])) as {
    sample_size: number
  }
  const vae = JSON.parse(new TextDecoder().decode(readRepository(`${model}/repo`)['vae/config.json'])) as {
    block_out_channels: number[]
  }
  expect(defaults?.width).toBe(unet.sample_size * 2 ** (vae.block_out_channels.length - 1))
  await expect(page.getByLabel('Width')).toHaveAttribute('placeholder', String(defaults?.width))
  await expect(page.getByLabel('Steps')).toHaveAttribute('placeholder', String(defaults?.numInferenceSteps))
  await expect(page.getByLabel('Guidance')).toHaveAttribute('placeholder', String(defaults?.guidanceScale))
  expect(await made(page)).toMatchObject({ width: defaults?.width, height: defaults?.height })

  for (const name of ['Width', 'Height']) await page.getByLabel(name).fill(String(size))

  await test.step('each run uses a new random seed, until “Keep” is pressed', async () => {
    const seeds = new Set<number>()
    for (let run = 0; run < 3; run++) {
      await generate(page, 'a red apple')
      seeds.add((await made(page)).seed)
    }
    expect(seeds.size).toBe(3)
    const last = await made(page)
    await page.getByRole('button', { name: 'Keep' }).click()
    await expect(page.getByLabel('Seed')).toHaveValue(String(last.seed))
    await generate(page, 'a red apple')
    expect(await made(page)).toEqual(last)
    await page.getByRole('button', { name: 'Keep' }).click()
    await expect(page.getByLabel('Seed')).toHaveValue('')
  })

  await test.step('Control-Enter and Meta-Enter run', async () => {
    await page.getByLabel('Prompt', { exact: true }).fill('a red apple')
    for (const key of ['Control', 'Meta']) {
      const image = nextEvent(page, 'image')
      await page.keyboard.press(`${key}+Enter`)
      await image
    }
  })
})

test('a listed model shows its download and memory, and whether it fits', async ({ page }) => {
  await page.addInitScript(() => {
    Object.defineProperty(StorageManager.prototype, 'estimate', { value: () => Promise.resolve({ quota: 3e9, usage: 1e9 }) })
    Object.defineProperty(Navigator.prototype, 'gpu', {
      get: () => ({
        requestAdapter: () =>
          Promise.resolve({
            info: { vendor: 'test', architecture: '', device: '', description: '', isFallbackAdapter: false },
            features: new Set(['shader-f16']),
            limits: { maxBufferSize: 2 ** 31, maxStorageBufferBindingSize: 2 ** 31 - 4 },
          }),
      }),
    })
  })
  await page.goto('/')
  const choose = (label: RegExp) =>
    page.getByLabel('Model', { exact: true }).evaluate((select: HTMLSelectElement, source) => {
      const option = [...select.options].find(({ text }) => new RegExp(source).test(text))
      if (option === undefined) throw new Error(`No ${source}`)
      select.value = option.value
      select.dispatchEvent(new Event('change'))
    }, label.source)
  await choose(/^Stable Diffusion 1\.5 · 2\.13 GB$/)
  const note = page.locator('aquatint-prompt').locator('#model-note')
  await expect(note).toHaveText(/^Downloads 2\.13 GB once; needs about 1\.72 GB of GPU memory, and more while generating\./)
  await expect(note).toContainText('Does not fit in the 2.00 GB of storage that this page has left.')
  await choose(/^Emoji/)
  await expect(note).toHaveText(/in seconds, on any machine/)
})

test('a typed model shows its download and memory, or why it cannot be loaded, before anything is loaded; a model comes from a URL or a folder', async ({
  page,
  server,
}) => {
  await test.step('the bundled model is chosen at first, with the values that its card recommends; another model removes them', async () => {
    await page.goto('/')
    await expect(page.getByLabel('Model', { exact: true })).toHaveValue('./models/aquatint-emoji')
    await page.getByText('Settings', { exact: true }).click()
    await expect(page.getByLabel('Steps')).not.toHaveValue('')
    await page.getByLabel('Model', { exact: true }).selectOption({ label: 'Another model…' })
    await expect(page.getByLabel('Steps')).toHaveValue('')
    await expect(page.getByLabel('Repository, URL or path')).toBeFocused()
  })

  const files = Object.entries(readRepository(`${model}/repo`)).filter(([path]) =>
    /^(unet|vae|text_encoder)\/[^.]*\.safetensors$/.test(path),
  )
  const bytes = files.reduce((sum, [, file]) => sum + file.length, 0)
  await openPage(page, server, { model: '' })
  await page.getByLabel('Model', { exact: true }).selectOption({ label: 'Another model…' })
  const field = page.getByLabel('Repository, URL or path')
  const note = page.locator('#model-note')
  await expect(note).toHaveText('Any diffusers repository of a supported model family.')

  await field.fill(model)
  await field.blur()
  await expect(note).toHaveText(
    `Stable Diffusion. Downloads ${(bytes / 1e6).toFixed(2)} MB once. A 256 × 256 picture is computed on the CPU.`,
  )
  // Only the headers of the weight files were read.
  const weights = server.log.filter(({ host, range }) => host === 'cdn' && range !== undefined)
  expect(weights).toHaveLength(files.length)
  for (const { range } of weights) expect(range).toMatch(/^bytes=0-\d{5,6}$/)

  await field.fill('fixtures/none')
  await field.blur()
  await expect(note).toHaveText(/^The model could not be downloaded\. .*fixtures\/none/)
  await field.fill('one name')
  await field.blur()
  await expect(note).toHaveText(/^Invalid setting\. .*one name/)
  await field.fill('')
  await field.blur()
  await expect(note).toHaveText('Any diffusers repository of a supported model family.')

  await field.fill(model)
  await field.blur()
  await generate(page, 'a red apple')
  await page.reload()
  await page.getByLabel('Model', { exact: true }).selectOption({ label: 'Another model…' })
  await field.fill(model)
  await field.blur()
  await expect(note).toHaveText('Stable Diffusion, already downloaded. A 256 × 256 picture is computed on the CPU.')

  await test.step('a model from a URL is loaded like any other', async () => {
    server.setRepository(model, withFileList(readRepository(`${model}/repo`)))
    server.clearLog()
    await field.fill(server.staticUrl(model))
    await field.blur()
    await generate(page, 'a red boat')
    await expect(page.getByRole('img', { name: 'a red boat' })).toBeVisible()
    expect(server.log.some(({ host }) => host === 'static')).toBe(true)
    expect(server.log.some(({ host }) => host === 'hub')).toBe(false)
  })

  await test.step('a model from a local folder, with the folder picker', async () => {
    // A test cannot operate the folder picker. The test replaces it by a function that returns the handle of a folder in the origin's
    // private file system.
    await page.evaluate(
      async ({ base, paths }) => {
        const folder = await (await navigator.storage.getDirectory()).getDirectoryHandle('my-model', { create: true })
        for (const path of paths) {
          const names = path.split('/')
          const last = names.pop() ?? ''
          let place = folder
          for (const name of names) place = await place.getDirectoryHandle(name, { create: true })
          const stream = await (await place.getFileHandle(last, { create: true })).createWritable()
          await stream.write(await (await fetch(`${base}/${path}`)).blob())
          await stream.close()
        }
        Object.assign(window, { showDirectoryPicker: () => Promise.resolve(folder) })
      },
      { base: server.staticUrl(model).replace(/\/$/, ''), paths: Object.keys(readRepository(`${model}/repo`)) },
    )
    const before = server.log.length
    await page.getByRole('button', { name: 'Folder…' }).click()
    await expect(page.getByLabel('Repository, URL or path')).toHaveValue('my-model (folder)')
    await generate(page, 'a green boat')
    await expect(page.getByRole('img', { name: 'a green boat' })).toBeVisible()
    expect(server.log).toHaveLength(before)
  })

  await test.step('a model from a folder, in a browser that has only the file input', async () => {
    await page.evaluate(() => Object.assign(window, { showDirectoryPicker: undefined }))
    const chooser = page.waitForEvent('filechooser')
    await page.getByRole('button', { name: 'Folder…' }).click()
    await (await chooser).setFiles(`${model}/repo`)
    await expect(page.getByLabel('Repository, URL or path')).toHaveValue('repo (folder)')
    await generate(page, 'a blue boat')
    await expect(page.getByRole('img', { name: 'a blue boat' })).toBeVisible()
  })

  await test.step('a folder dropped on the page becomes the model', async () => {
    const before = server.log.length
    const session = await page.context().newCDPSession(page)
    const data = { items: [], files: [resolve(`${model}/repo`)], dragOperationsMask: 1 }
    for (const type of ['dragEnter', 'dragOver', 'drop'] as const)
      await session.send('Input.dispatchDragEvent', { type, x: 600, y: 400, data })
    await expect(page.getByText('The model is now the folder repo.')).toBeVisible()
    await expect(page.getByLabel('Repository, URL or path')).toHaveValue('repo (folder)')
    await expect(page.locator('#model-note')).toHaveText(/^Stable Diffusion, already downloaded\./)
    await generate(page, 'a black boat')
    await expect(page.getByRole('img', { name: 'a black boat' })).toBeVisible()
    expect(server.log).toHaveLength(before)
  })
})
