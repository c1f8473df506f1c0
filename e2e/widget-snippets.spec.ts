/**
 * Runs the TypeScript snippets of the documents in a consumer's project: type-checks them against the packed package, builds them with
 * Vite and the Vite setting of the guide, and runs them in Chromium. Requests to the servers that the snippets name go to local servers
 * instead; nothing else about the snippets changes.
 */

import { execFileSync } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import type { Page } from '@playwright/test'
import { serveFolder } from '../cli/serve/serve.js'
import { singleFileOf } from '../src/checkpoint/layouts/single-file/testing.node.js'
import { findSnippet, readSnippets } from './docs/read-docs.js'
import type { HubServer } from './hub-server/types.js'
import { expect, test } from './ui/consumer.js'
import { site as builtSite } from './ui/page-harness.js'
import { startFolder, type SiteServer } from './ui/site-server.js'

/** The Hub repositories that the snippets name, each with the fixture that replaces it. */
const published: Readonly<Record<string, string>> = {
  'stabilityai/stable-diffusion-xl-base-1.0': 'tiny-sdxl',
  'someone/sdxl-unet-sharded': 'tiny-sdxl',
  'stabilityai/sdxl-turbo': 'tiny-sdxl',
  'stabilityai/stable-diffusion-3-medium-diffusers': 'tiny-sd3',
  // This fixture has fp16 files.
  'stable-diffusion-v1-5/stable-diffusion-v1-5': 'tiny-sdxl',
  'my-team/my-model': 'tiny-sd15',
}

/** A snippet that runs in a page. */
interface Running {
  readonly page: Page
  /** What it has written to the console so far. */
  readonly said: readonly string[]
  /** Resolves when the snippet's module has run to its end; rejects if it threw. */
  readonly over: Promise<void>
  readonly server: HubServer
}

/** For each snippet, identified by a text that only it contains, a check of its effects. They run in this order, in one page. */
const expectations: Readonly<Record<string, (running: Running) => Promise<void>>> = {
  // README: the library
  "unet: { repo: 'someone/sdxl-unet-sharded' }": async ({ page, over, server }) => {
    const [download] = await Promise.all([page.waitForEvent('download'), over])
    expect(download.suggestedFilename()).toBe('dog.png')
    const asked = (id: string) =>
      server.log.flatMap(({ kind, path, file }) => (kind === 'resolve' && path.includes(id) ? [file ?? ''] : []))
    expect(asked('sdxl-unet-sharded').some((file) => file.startsWith('unet/') && file.endsWith('.safetensors'))).toBe(true)
    expect(asked('stable-diffusion-xl-base').filter((file) => file.startsWith('unet/') && file.endsWith('.safetensors'))).toEqual(
      [],
    )
  },
  // first-picture.md: the library call
  "save('apple.png')": async ({ page, over, said }) => {
    const [download] = await Promise.all([page.waitForEvent('download'), over])
    expect(download.suggestedFilename()).toBe('apple.png')
    expect(said).toContain('step 10 of 10')
  },
  // first-picture.md: a real model
  "save('first-dog.png')": async ({ page, over, said }) => {
    const [download] = await Promise.all([page.waitForEvent('download'), over])
    expect(download.suggestedFilename()).toBe('first-dog.png')
    expect(said[0]).toMatch(/^[1-9]\d* bytes to download/)
  },
  // embedding.md: the library
  "negativePrompt: 'blurry'": async ({ page, over, said }) => {
    const [download] = await Promise.all([page.waitForEvent('download'), over])
    expect(download.suggestedFilename()).toBe('dog.png')
    await expect(page.locator('body')).toContainText(/Seed \d+/)
    expect(said).toContain('25 of 25')
    expect(said.some((line) => line.startsWith('unet/'))).toBe(true)
  },
  // embedding.md: a progress bar
  'bar.value = fraction': async ({ over, said }) => {
    await over
    expect(said).toContain('step 4 of 4')
    expect(said.at(-1)).toBe('the bar is at 1')
  },
  // models.md: the error for a model that is not supported
  'Qwen/Qwen-Image': async ({ over, said }) => {
    await over
    expect(said.at(-1)).toMatch(/^QwenImagePipeline \[StableDiffusionPipeline, /)
  },
  // models.md: components of another model
  'madebyollin/sdxl-vae-fp16-fix': async ({ over, said }) => {
    await over
    expect(said.at(-1)).toBe('madebyollin/sdxl-vae-fp16-fix DPMSolverMultistepScheduler')
  },
  // prompts.md: embeddings halfway between two prompts
  "'a city by night'": async ({ over, said }) => {
    await over
    expect(said.at(-1)).toBe('1')
  },
  // few-steps.md: one step without guidance
  'stabilityai/sdxl-turbo': async ({ over, said }) => {
    await over
    expect(said.at(-1)).toBe('1')
  },
  // few-steps.md: the UNet of a latent consistency model
  'latent-consistency/lcm-sdxl': async ({ over, said, server }) => {
    await over
    expect(said.at(-1)).toBe('1')
    expect(server.log.some(({ kind, path }) => kind === 'resolve' && path.includes('latent-consistency/lcm-sdxl'))).toBe(true)
  },
  // memory.md: the plan
  'plan.downloadBytes': async ({ over, said, server }) => {
    await over
    // `auto` does not use a software adapter.
    expect(said.at(-1)).toMatch(/^[1-9]\d* (undefined undefined|(resident|model|block) [1-9]\d*)$/)
    const weights = server.log.filter(({ kind, file }) => kind === 'file' && file?.endsWith('.safetensors'))
    expect(weights.length).toBeGreaterThan(0)
    for (const { bytes } of weights) expect(bytes).toBeLessThanOrEqual(256 << 10)
  },
  // memory.md: several devices
  'deviceMap: {': async ({ over, said }) => {
    await over
    expect(said.at(-1)).toBe('wasm webgpu')
  },
  // quantization.md: a quantized model
  "text_encoder_3: 'q4'": async ({ over, said }) => {
    await over
    expect(said).toContain('q8')
  },
  // offline.md: download now, use later
  'navigator.storage.persist()': async ({ over, said }) => {
    await over
    expect(said.at(-1)).toMatch(/^kept for good: (true|false)$/)
  },
  // offline.md: the cached models, after a load that fills the cache
  'new ModelCache()': async ({ page, over, said }) => {
    await over
    expect(said).toEqual([])
    await page.evaluate(() => (window as unknown as Snippets).start('navigator.storage.persist()'))
    await page.reload()
    await page.evaluate(() => (window as unknown as Snippets).start('new ModelCache()'))
    expect(said.at(-3)).toMatch(/^stable-diffusion-v1-5\/stable-diffusion-v1-5: [1-9]\d* bytes, used 20/)
    expect(said.at(-2)).toBe('sound')
    expect(said.at(-1)).toMatch(/^[1-9]\d* bytes freed$/)
  },
  // offline.md: a folder
  webkitdirectory: async ({ page, over, said }) => {
    await over
    await page.locator('input[type=file]').setInputFiles(resolve('fixtures/tiny-sd15/repo'))
    await expect.poll(() => said.at(-1)).toBe('StableDiffusionPipeline from a folder')
  },
  // self-hosting.md: during development
  "fromPretrained('http://127.0.0.1:8000/')": async ({ over, said }) => {
    await over
    expect(said.at(-1)).toMatch(/^\d+ pixels wide$/)
  },
  // self-hosting.md: on a static host
  'https://files.example': async ({ over, said, server }) => {
    await over
    expect(said.at(-1)).toBe('text_encoder, unet, vae')
    expect(new Set(server.log.map(({ host }) => host))).toEqual(new Set(['static']))
  },
  // self-hosting.md: a mirror
  'https://hub.example': async ({ over, said, server }) => {
    await over
    expect(said.at(-1)).toBe(await server.commit('my-team/my-model'))
  },
  // The following snippets run last, because they do not dispose their pipelines, and files of an open pipeline cannot be deleted from the cache.
  // memory.md: a memory budget
  "maxMemory: '6GB', // or": async ({ over }) => over,
  // single-files.md: a checkpoint in one file
  'blob/main/model.safetensors': async ({ over, said }) => {
    await over
    expect(said.at(-1)).toBe('1 image of StableDiffusionXLPipeline')
  },
  // lora.md: several LoRAs
  "'nerijs/pixel-art-xl'": async ({ over, said }) => {
    await over
    expect(said.at(-1)).toBe('1 [tiny dog]')
  },
  // lora.md: fused LoRAs
  'fuseLora({': async ({ over, said }) => {
    await over
    expect(said.at(-1)).toBe('1 [unet]')
  },
}

/** The snippet that needs a page without other cached models. */
const ofEmptyCache = 'new ModelCache()'

interface Snippets {
  start(key: string): Promise<void>
  /** Deletes the cached models that no pipeline has open. */
  clear(): Promise<void>
}

const snippets = readSnippets('ts').filter(({ code }) => !code.includes("'../src/"))

test('every snippet has a test', () => {
  const keys = Object.keys(expectations)
  expect(snippets.map(({ code }) => keys.filter((key) => code.includes(key)).length)).toEqual(snippets.map(() => 1))
  expect(snippets).toHaveLength(keys.length)
})

test.describe('in a consumer’s project', () => {
  let [site, served]: readonly (SiteServer | undefined)[] = []
  let singleFile = new Uint8Array()
  /** A folder with a `files.json` that the guide's script wrote. */
  let listed = ''

  test.beforeAll(async ({ consumer }) => {
    singleFile = await singleFileOf('tiny-sdxl')
    listed = mkdtempSync(join(tmpdir(), 'aquatint-listed-'))
    cpSync('fixtures/tiny-sd15/repo', listed, { recursive: true })
    consumer.write({}, { 'list-files.mjs': findSnippet("'files.json'", 'js').code })
    execFileSync(process.execPath, [join(consumer.folder, 'list-files.mjs'), listed])
    served = await serveFolder('fixtures/tiny-sdxl/repo', { host: '127.0.0.1', port: 0, origin: '*' })
    const keys = Object.keys(expectations)
    const modules = keys.map((key) => findSnippet(key, 'ts').code)
    consumer.write({
      ...Object.fromEntries(modules.map((code, i) => [`snippet-${i}.ts`, code])),
      'main.ts': `import { ModelCache } from 'aquatint'

const modules: Record<string, () => Promise<unknown>> = {
${keys.map((key, i) => `  ${JSON.stringify(key)}: () => import('./snippet-${i}.js'),`).join('\n')}
}
const cache = new ModelCache()
Object.assign(window, {
  start: (key: string) => modules[key]?.().then(() => undefined),
  clear: async () => {
    for (const model of await cache.list()) await cache.delete(model)
  },
})
`,
    })
    expect(consumer.typeErrors()).toBe('')
    const html = '<!doctype html><title>Snippets</title><script type="module" src="/src/main.ts"></script>'
    site = await startFolder(consumer.build(html, findSnippet('optimizeDeps', 'js').code))
  })
  test.afterAll(async () => {
    await Promise.all([site?.close(), served?.close()])
    rmSync(listed, { recursive: true })
  })

  /** Opens the page, with local servers in place of those that the snippets name. Returns a function that runs a snippet and checks its effects. */
  async function openSnippets(page: Page, server: HubServer): Promise<(key: string) => Promise<void>> {
    for (const [id, fixture] of Object.entries(published)) server.setRepository(id, `fixtures/${fixture}/repo`)
    server.setRepository('madebyollin/sdxl-vae-fp16-fix', 'fixtures/tiny-sdxl/repo/vae')
    server.setRepository('owner/name', { 'model.safetensors': singleFile })
    server.setRepository('nerijs/pixel-art-xl', {
      'pixel-art-xl.safetensors': readFileSync('fixtures/lora/kohya-xl.safetensors'),
    })
    server.setRepository('someone/toys', { 'toy.safetensors': readFileSync('fixtures/lora/peft-xl.safetensors') })
    server.setRepository('latent-consistency/lcm-sdxl', 'fixtures/tiny-sdxl/repo/unet')
    server.setRepository('Qwen/Qwen-Image', {
      'model_index.json': JSON.stringify({ _class_name: 'QwenImagePipeline', vae: ['diffusers', 'AutoencoderKL'] }),
    })
    const elsewhere = async (from: RegExp, to: string) =>
      page.context().route(from, async (route) => {
        const { pathname, search } = new URL(route.request().url())
        await route.fulfill({ response: await route.fetch({ url: to + pathname + search }) })
      })
    await elsewhere(/^https:\/\/(huggingface\.co|hub\.example)\//, server.url)
    // The URL of `npm start` in docs/first-picture.md.
    await elsewhere(/^http:\/\/127\.0\.0\.1:5173\//, builtSite)
    await elsewhere(/^http:\/\/127\.0\.0\.1:8000\//, (served?.url ?? '').replace(/\/$/, ''))
    server.setRepository('files/my-model', listed)
    await elsewhere(/^https:\/\/files\.example\//, new URL('..', server.staticUrl('files/my-model')).href.replace(/\/$/, ''))
    const said: string[] = []
    page.on('console', (message) => said.push(message.text()))
    await page.goto(site?.url ?? '')
    return async (key) => {
      await page.waitForFunction(() => 'start' in window)
      await page.evaluate(() => (window as unknown as Snippets).clear())
      said.length = 0
      server.clearLog()
      const over = page.evaluate((name) => (window as unknown as Snippets).start(name), key)
      over.catch(() => {})
      await expectations[key]?.({ page, said, over, server })
      await over
    }
  }

  test('each runs as it is, all in one page', async ({ page, server }) => {
    const run = await openSnippets(page, server)
    for (const key of Object.keys(expectations)) if (key !== ofEmptyCache) await test.step(key, () => run(key))
  })

  test(ofEmptyCache, async ({ page, server }) => {
    await (
      await openSnippets(page, server)
    )(ofEmptyCache)
  })
})
