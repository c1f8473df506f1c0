/**
 * The whole system: the built page loads a repository that diffusers wrote, with the worker, range requests and IndexedDB, and generates the
 * same image as diffusers; the second time without any download. Bad input gives an error with a code.
 */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { expect, test as base, type Page } from '@playwright/test'
import { readRepository, withHeader, withJson } from './fixture-repository.js'
import { startHubServer } from './hub-server/server.js'
import type { HubServer } from './hub-server/types.js'
import type { FixtureCase } from '../src/pipelines/testing-cases.js'
import { psnr, type Outcome } from './ui/made-picture.js'
import { site } from './ui/site.js'
import type { AquatintPrompt } from '../src/ui/element.js'

const folder = 'fixtures/tiny-sdxl/repo'
const reference = 'fixtures/tiny-sdxl/reference-0.safetensors'
const [item] = JSON.parse(readFileSync('fixtures/tiny-sdxl/case.json', 'utf8')) as [FixtureCase]

const shard = 'unet/diffusion_pytorch_model-00002-of-00003.safetensors'

const test = base.extend<{ server: HubServer }>({
  server: async ({ page: _page }, use) => {
    const server = await startHubServer({ repositories: { 'fixtures/tiny-sdxl': folder } })
    await use(server)
    await server.close()
  },
})

/** Opens the page with a model and the settings of the fixture in the URL; `host` is where the site is, the plain host by default. */
async function open(page: Page, server: HubServer, model = 'fixtures/tiny-sdxl', host = ''): Promise<void> {
  const query = new URLSearchParams({
    model,
    endpoint: server.url,
    device: 'wasm',
    steps: String(item.num_inference_steps),
    guidance: String(item.guidance_scale),
    seed: String(item.seed),
    width: String(item.width),
    height: String(item.height),
  })
  await page.goto(`${host}/?${query}`)
}

/** Waits until the load of the URL's model, which began with the page, has failed, so that its error is not taken for the result of a run. */
async function loadHasFailed(page: Page): Promise<void> {
  await expect(page.locator('.message.error')).toBeVisible()
  await expect(page.locator('aquatint-prompt')).toHaveJSProperty('state', 'idle')
}

/** Types the prompt, presses Generate, and waits for pictures or an error. */
async function generate(page: Page, prompt = item.prompt, negative = item.negative_prompt ?? ''): Promise<Outcome> {
  const outcome = page.evaluate(
    () =>
      new Promise<Outcome>((resolve) => {
        const box: AquatintPrompt | null = document.querySelector('aquatint-prompt')
        box?.addEventListener(
          'image',
          ({ detail }) => {
            const [image] = detail.images
            resolve({
              warnings: [...detail.warnings],
              ...(image === undefined ? {} : { pixels: { width: image.width, height: image.height, data: [...image.data] } }),
            })
          },
          { once: true },
        )
        box?.addEventListener('error', (event) => {
          const detail = event instanceof CustomEvent ? (event.detail as { code?: string; message?: string }) : {}
          resolve({ code: detail.code ?? 'none', message: detail.message ?? '' })
        })
      }),
  )
  await page.getByLabel('Prompt', { exact: true }).fill(prompt)
  await page.getByLabel('Negative prompt').fill(negative)
  await page.getByRole('button', { name: 'Generate' }).click()
  return outcome
}

/** The weight files that are complete in the cache of the page: path, and the key of the content. */
function completeWeights(page: Page): Promise<[path: string, key: string][]> {
  return page.evaluate(
    () =>
      new Promise<[string, string][]>((resolve, reject) => {
        const opening = indexedDB.open('aquatint-records')
        opening.addEventListener('error', () => reject(new Error('The records could not be opened.')))
        opening.addEventListener('success', () => {
          const cursor = opening.result.transaction('records').objectStore('records').openCursor()
          const complete: [string, string][] = []
          cursor.addEventListener('success', () => {
            const at = cursor.result
            if (at === null) {
              opening.result.close()
              resolve(complete)
              return
            }
            const { state, name } = at.value as { readonly state?: string; readonly name?: string }
            if (state === 'complete' && name?.endsWith('.safetensors') === true)
              complete.push([name, typeof at.key === 'string' ? at.key : ''])
            at.continue()
          })
        })
      }),
  )
}

/** The expected entries: each path with the hash of the file on the server. */
function published(files: Readonly<Record<string, Uint8Array>>, paths: readonly string[]): [string, string][] {
  return paths.map((path) => [
    path,
    `file sha256:${createHash('sha256')
      .update(files[path] ?? '')
      .digest('hex')}`,
  ])
}

test('a prompt typed into the page gives the same image as diffusers, and after a reload again without any download', async ({
  page,
  server,
}) => {
  await open(page, server, undefined, site)
  // This server isolates the page, so the CPU kernels run on several threads.
  expect(await page.evaluate(() => crossOriginIsolated)).toBe(true)
  expect(psnr(await generate(page), reference)).toBeGreaterThanOrEqual(50)
  expect(server.log.filter((entry) => entry.kind === 'file' && entry.range !== undefined).length).toBeGreaterThan(3)
  const kept = await completeWeights(page)
  expect(kept.map(([path]) => path)).toContain(shard)
  expect(kept).toEqual(
    published(
      readRepository(folder),
      kept.map(([path]) => path),
    ),
  )

  const asked = server.log.length
  await page.reload()
  expect(psnr(await generate(page), reference)).toBeGreaterThanOrEqual(50)
  expect(server.log.slice(asked)).toEqual([])

  await test.step('a picture can be saved as PNG', async () => {
    const download = page.waitForEvent('download')
    await page.getByRole('button', { name: 'Save PNG' }).click()
    const file = readFileSync(await (await download).path())
    expect(file.subarray(1, 4).toString()).toBe('PNG')
    expect([file.readUInt32BE(16), file.readUInt32BE(20)]).toEqual([item.width, item.height])
  })

  await test.step('a prompt of 10,000 characters is cut, with a warning that quotes the rest', async () => {
    const { pixels, warnings } = await generate(page, 'a cute dog running on the grass '.repeat(320).slice(0, 10_000))
    expect(pixels?.width).toBe(item.width)
    expect(warnings?.join('\n')).toContain('running on the grass')
  })

  await test.step('a component is replaced by one from another repository', async () => {
    const files = readRepository(folder)
    server.setRepository(
      'someone/unet-only',
      Object.fromEntries(Object.entries(files).filter(([path]) => path.startsWith('unet/'))),
    )
    server.setRepository(
      'someone/without-unet-weights',
      Object.fromEntries(Object.entries(files).filter(([path]) => !/^unet\/.*safetensors/.test(path))),
    )
    const images = await page.evaluate(
      async ([endpoint, prompt, negativePrompt]) => {
        const box: AquatintPrompt | null = document.querySelector('aquatint-prompt')
        if (box === null) throw new Error('no box')
        box.loadOptions = { endpoint, device: 'wasm', components: { unet: { repo: 'someone/unet-only', subfolder: 'unet' } } }
        box.settings = { model: 'someone/without-unet-weights', prompt, negativePrompt }
        const { images: made } = await box.generate()
        return made.map((image) => ({ width: image.width, height: image.height, data: [...image.data] }))
      },
      [server.url, item.prompt, item.negative_prompt ?? ''] as const,
    )
    expect(psnr({ pixels: images[0] }, reference)).toBeGreaterThanOrEqual(50)
  })
})

const broken: readonly {
  name: string
  code: string
  files: (files: Record<string, Uint8Array>) => Record<string, Uint8Array>
}[] = [
  {
    name: 'a missing shard',
    code: 'shard-missing',
    files: (files) => Object.fromEntries(Object.entries(files).filter(([path]) => path !== shard)),
  },
  {
    name: 'a shard shorter than its header says',
    code: 'safetensors-offsets',
    files: (files) => ({ ...files, [shard]: (files[shard] ?? new Uint8Array()).slice(0, -64) }),
  },
  {
    name: 'a tensor of the wrong shape',
    code: 'shape-mismatch',
    files: (files) => ({
      ...files,
      [shard]: withHeader(files[shard], (header) => {
        const tensor = Object.values(header).find(({ shape }) => shape?.length === 2 && shape[0] !== shape[1])
        tensor?.shape.reverse()
      }),
    }),
  },
  {
    name: 'an unsupported class',
    code: 'unsupported-class',
    files: (files) =>
      withJson(files, 'model_index.json', (index) => (index['unet'] = ['diffusers', 'UNetSpatioTemporalConditionModel'])),
  },
  {
    name: 'an unknown config value',
    code: 'unsupported-config',
    files: (files) => withJson(files, 'unet/config.json', (config) => (config['addition_embed_type'] = 'image')),
  },
]

test('an unknown repository gives an error with its name; a broken one an error with its code, and no incomplete file counts as complete; the page works once the repository is repaired', async ({
  page,
  server,
}) => {
  await open(page, server, 'nobody/nothing')
  await loadHasFailed(page)
  const unknown = await generate(page)
  expect(unknown.code).toBe('repository-not-found')
  expect(unknown.message).toContain('nobody/nothing')
  expect(await completeWeights(page)).toEqual([])
  await expect(page.getByRole('button', { name: 'Generate' })).toBeEnabled()

  const sound = readRepository(folder)
  const session = await page.context().newCDPSession(page)
  for (const [at, { name, code, files }] of broken.entries()) {
    await test.step(name, async () => {
      // Each case begins with an empty cache.
      const { origin } = new URL(page.url())
      await page.goto('about:blank')
      await session.send('Storage.clearDataForOrigin', { origin, storageTypes: 'indexeddb' })
      const repository = `someone/broken-${at}`
      server.setRepository(repository, files(sound))
      await open(page, server, repository)
      await loadHasFailed(page)
      expect(await generate(page)).toMatchObject({ code })
      // Complete and valid files may stay in the cache; a file that the server did not send completely may not.
      const kept = await completeWeights(page)
      expect(kept).toEqual(
        published(
          files(sound),
          kept.map(([path]) => path),
        ),
      )
      if (code === 'shard-missing') expect(kept.map(([path]) => path)).not.toContain(shard)

      // After the first error only, because recovery is the same for all: the page generates the image from the repaired repository.
      if (at > 0) return
      server.setRepository(repository, sound)
      expect(psnr(await generate(page), reference)).toBeGreaterThanOrEqual(50)
    })
  }
})
