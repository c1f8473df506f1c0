/**
 * Tests WebGPU in a browser that cannot suspend WebAssembly (Firefox with JSPI turned off). Such a browser downloads the `asyncify` build
 * of onnxruntime-web. The built site serves this build compressed; an application that bundles the package serves it uncompressed. The site
 * must generate the same image as diffusers. The application runs the same code, so it only loads a model on the GPU.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from '@playwright/test'
import type { FixtureCase } from '../src/pipelines/testing-cases.js'
import { firefoxEngine } from './browsers/drivers/firefox.js'
import { generate } from './browsers/elements.js'
import { startHubServer } from './hub-server/server.js'
import { Consumer } from './ui/consumer.js'
import { psnr } from './ui/made-picture.js'
import { startFolder, type ListingServer } from './ui/site-server.js'

// The fixture with the fewest kernels.
const model = 'fixtures/tiny-z-image'
const [item] = JSON.parse(readFileSync(`${model}/case.json`, 'utf8')) as [FixtureCase]
const reference = `${model}/reference-0.safetensors`
const settings = { seed: item.seed, width: item.width, height: item.height }

interface Opening {
  /** Loads the model and resolves with the device that runs its transformer. */
  open(repo: string, endpoint: string): Promise<string | undefined>
}

/** The source of a page that uses the package. */
const main = `
import { DiffusionPipeline } from 'aquatint'

Object.assign(window, {
  async open(repo: string, endpoint: string) {
    await using pipeline = await DiffusionPipeline.fromPretrained(repo, { endpoint, device: 'webgpu', dtype: 'float32' })
    return pipeline.info.components['transformer']?.device
  },
})
document.documentElement.dataset['ready'] = 'yes'
`

/** The WebAssembly files that a page has requested, without the hashes in their names. */
const fetched = ({ requests }: ListingServer) =>
  requests.filter((path) => path.includes('.wasm')).map((path) => path.replace(/^\/assets\/|-[\w-]{8}(?=\.wasm)/g, ''))

test('no file of the built site has more than 25 MiB', () => {
  const files = readdirSync('dist/site', { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
  const sizes = files.map(({ parentPath, name }) => statSync(join(parentPath, name)).size)
  expect(Math.max(...sizes)).toBeLessThanOrEqual(25 * 2 ** 20)
})

test('a browser that cannot suspend WebAssembly makes the picture of diffusers on its GPU; a build of the package opens the GPU with the same runtime', async () => {
  const missing = firefoxEngine.missing()
  test.skip(missing !== undefined, missing)
  const folder = mkdtempSync(join(tmpdir(), 'aquatint-consumer-'))
  const hub = await startHubServer({ repositories: { [model]: `${model}/repo` } })
  const browser = await firefoxEngine.launch({ suspends: false })
  const site = await startFolder('dist/site')
  try {
    const tab = await browser.newTab()
    await test.step('the built site', async () => {
      const query = new URLSearchParams({
        ...Object.fromEntries(Object.entries(settings).map(([name, value]) => [name, String(value)])),
        model,
        endpoint: hub.url,
        device: 'webgpu',
        dtype: 'float32',
        steps: String(item.num_inference_steps),
        guidance: String(item.guidance_scale),
      })
      await tab.goto(`${site.url}/?${query.toString()}`)
      expect(await tab.evaluate(() => 'Suspending' in WebAssembly, null)).toBe(false)
      expect(psnr(await generate(tab, item.prompt), reference)).toBeGreaterThanOrEqual(50)
      expect(fetched(site)).toEqual(['ort-wasm-simd-threaded.asyncify.wasm.gz.bin'])
    })
    await test.step("a consumer's build of the package", async () => {
      const consumer = new Consumer(folder)
      consumer.write({ 'main.ts': main })
      const page = '<!doctype html><title>Consumer</title><script type="module" src="/src/main.ts"></script>'
      const built = await startFolder(consumer.build(page))
      try {
        await tab.goto(built.url)
        await tab.waitForFunction(() => document.documentElement.dataset['ready'] === 'yes', null)
        const device = await tab.evaluate(([repo, endpoint]) => (window as unknown as Opening).open(repo, endpoint), [
          model,
          hub.url,
        ] as const)
        expect(device).toBe('webgpu')
        expect(fetched(built)).toEqual(['ort-wasm-simd-threaded.asyncify.wasm'])
      } finally {
        await built.close()
      }
    })
  } finally {
    await site.close()
    await browser.close()
    await hub.close()
    rmSync(folder, { recursive: true, force: true })
  }
})
