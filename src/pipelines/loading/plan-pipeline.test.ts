/** Plans of real repositories on the CPU: what they read, contain and refuse. budget.browser.test.ts tests plans on a GPU. */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { startHubServer } from '../../../e2e/hub-server/server.js'
import { Hub } from '../../hub/hub.js'
import { MemoryStore } from '../../hub/cache/memory-store.js'
import type { TransferSettings } from '../../hub/settings.js'
import { loadPipeline, planLoad } from '../diffusion-pipeline.js'
import { diskRepository, fixtures } from '../testing.node.js'

const folder = join(fixtures, 'tiny-sdxl/repo')
const id = 'owner/tiny-sdxl'

const isWeights = (path: string | undefined) => path?.endsWith('.safetensors') === true
/** Whether a request is for the header of a file whose chunks have 2048 bytes. */
const isHeader = (range: string | undefined) => range?.startsWith('bytes=0-') === true && range !== 'bytes=0-2047'

async function served(repository = folder, settings?: Partial<TransferSettings>) {
  const server = await startHubServer({ repositories: { [id]: repository } })
  onTestFinished(() => server.close())
  const hub = await Hub.open({ store: new MemoryStore(), settings })
  return { server, options: { hub, endpoint: server.url, device: 'wasm' } as const }
}

test('a plan reads only headers, and agrees with the load in what it downloads and keeps', async () => {
  const { server, options } = await served()
  const plan = await planLoad(id, options)
  const weights = server.log.filter(
    ({ host, file, range }) => host === 'cdn' && file?.endsWith('.safetensors') && range !== undefined,
  )
  // One request for the first 256 KiB of each file, which contain its header.
  for (const { range } of weights) expect(Number(/-(\d+)$/.exec(range ?? '')?.[1])).toBeLessThan(256 << 10)
  expect(weights).toHaveLength(7)
  expect((await options.hub.cache.files()).filter(({ size }) => size > 50_000)).toEqual([])

  const { devices, places, components, downloadBytes, keptBytes, diskBytes, ...rest } = plan
  expect(rest).toMatchObject({ className: 'StableDiffusionXLPipeline', repo: id, width: 64, height: 64, warnings: [] })
  expect(rest.revision).toMatch(/^[0-9a-f]{40}$/)
  expect(places).toEqual({ text_encoder: 'wasm', text_encoder_2: 'wasm', unet: 'wasm', vae: 'wasm' })
  expect(Object.keys(devices)).toEqual(['wasm'])

  const pipeline = await loadPipeline(id, options)
  onTestFinished(() => pipeline.dispose())
  expect(pipeline.info.components).toEqual(components)
  const files = (await diskRepository(folder).files()).filter(({ path }) => /(?<!fp16[^/]*)\.safetensors$/.test(path))
  expect(downloadBytes).toBe(files.reduce((sum, { size }) => sum + size, 0))
  expect([keptBytes, diskBytes]).toEqual([downloadBytes, downloadBytes])
  expect((await planLoad(id, options)).downloadBytes).toBe(0)
  server.dropConnections()
  await server.close()
  expect((await planLoad(id, options)).devices).toEqual(devices)
})

test('a cached quantized copy needs no download, and neither does its original', async () => {
  const { options } = await served()
  const before = await planLoad(id, { ...options, dtype: 'q4' })
  expect(before.downloadBytes).toBeGreaterThan(3e6)
  expect(before.components['unet']).toMatchObject({ quantization: 'q4', parameters: 423_028 })
  const pipeline = await loadPipeline(id, { ...options, dtype: 'q4', keepOriginal: false })
  await pipeline.dispose()
  const onlyCopies = await planLoad(id, { ...options, dtype: 'q4', keepOriginal: false })
  const cached = (await options.hub.cache.files()).filter(({ path }) => / \(q4\)$|safetensors$/.test(path))
  const bytes = (files: typeof cached) => files.reduce((sum, { stored }) => sum + stored, 0)
  expect(onlyCopies.keptBytes).toBe(bytes(cached))
  // The originals and the copies are in the cache at the same time.
  const copies = cached.filter(({ path }) => path.endsWith(' (q4)'))
  expect(copies).toHaveLength(3)
  expect([before.keptBytes, before.diskBytes]).toEqual(Array(2).fill(before.downloadBytes + bytes(copies)))
  const after = await planLoad(id, { ...options, dtype: 'q4' })
  expect(after.components).toEqual(before.components)
  expect(after.downloadBytes).toBe(0)
  expect(after.devices).toEqual(before.devices)
})

test('layers of a language model that a pipeline does not use are neither planned nor downloaded, nor quantized', async () => {
  const chunks = { chunkBytes: 2048, pieceBytes: 2048 }
  const { server, options } = await served(join(fixtures, 'tiny-flux2-klein/repo'), chunks)
  const plan = await planLoad(id, options)
  const before = server.log.length
  const pipeline = await loadPipeline(id, { ...options, dtype: { text_encoder: 'q8' } })
  await pipeline.dispose()
  const loading = server.log.slice(before).filter(({ host, file }) => host === 'cdn' && isWeights(file))
  const fetched = loading.reduce((sum, { bytes, range }) => sum + (isHeader(range) ? 0 : bytes), 0)
  expect(plan.downloadBytes).toBe(fetched)
  const cached = (await options.hub.cache.files()).filter(({ path }) => isWeights(path))
  expect(cached.reduce((sum, { stored }) => sum + stored, 0)).toBe(fetched)
  // 27 of 28 layers are downloaded. The last layer and the norm after it are not, except for bytes in chunks that contain other tensors, too.
  const whole = cached.reduce((sum, { size }) => sum + size, 0)
  const layer = 2 * (16 * 8 * (2 + 1 + 1 + 2) + 3 * 16 * 24)
  expect(whole - fetched).toBeGreaterThan(layer - 2 * chunks.chunkBytes)
  expect(cached.every(({ complete }) => complete)).toBe(true)
  expect(plan.components['text_encoder']?.bytes).toBeLessThan(whole)
  expect((await planLoad(id, options)).downloadBytes).toBe(0)
})

test('a budget and a size change the plan', async () => {
  const repository = diskRepository(folder)
  const plan = (options: Parameters<typeof planLoad>[1]) => planLoad(repository, { device: 'wasm', ...options })
  const whole = await plan({})
  expect([whole.devices.wasm?.residence, whole.downloadBytes]).toEqual(['resident', 0])
  const tight = await plan({ maxMemory: { wasm: '2MB' } })
  expect(tight.devices.wasm).toMatchObject({ residence: 'model', maxMemory: 2e6 })
  expect(tight.devices.wasm?.peakBytes).toBe(Math.max(...tight.devices.wasm!.components.map(({ weightBytes }) => weightBytes)))
  expect(await plan({ width: 128, height: 32 })).toMatchObject({ width: 128, height: 32 })
})

test('a size that a generation would refuse is refused by the plans of all families', async () => {
  const repository = diskRepository(join(fixtures, 'tiny-sd3/repo'))
  const pipeline = await loadPipeline(repository, { device: 'wasm' })
  onTestFinished(() => pipeline.dispose())
  // The autoencoder's factor is 4 and a patch has 2 × 2 latent pixels, so sizes must be multiples of 8.
  const refused = { code: 'size', details: { width: 36 } }
  await expect(pipeline.generate('a dog', { width: 36, height: 32 })).rejects.toMatchObject(refused)
  await expect(planLoad(repository, { device: 'wasm', width: 36, height: 32 })).rejects.toMatchObject(refused)
})

test('what a generation adds or leaves out changes the plan', async () => {
  const repository = diskRepository(folder)
  const plan = async (options: Parameters<typeof planLoad>[1]) =>
    (await planLoad(repository, { device: 'wasm', ...options })).devices.wasm!
  const names = ({ components }: Awaited<ReturnType<typeof plan>>) =>
    components.map(({ name, part }) => [name, part ?? ''].join(' ').trim())
  expect(names(await plan({}))).toEqual(['text_encoder', 'text_encoder_2', 'unet', 'vae'])
  const fromImage = await plan({ imageToImage: true })
  expect(names(fromImage)).toEqual(['text_encoder', 'text_encoder_2', 'vae encoder', 'unet', 'vae'])
  // The budget is the peak of the plan without an image. The plan with an image exceeds it, so it loads networks one after the other.
  const { peakBytes } = await plan({})
  expect(fromImage.peakBytes).toBeGreaterThan(peakBytes)
  expect((await plan({ imageToImage: true, maxMemory: { wasm: peakBytes } })).residence).toBe('model')
})

test('image to image stays within the CPU’s budget, as its plan says and the memory account measures', async () => {
  const repository = diskRepository(folder)
  const options = { device: 'wasm', width: 64, height: 64 } as const
  const without = await planLoad(repository, options)
  const maxMemory = { wasm: without.devices.wasm!.peakBytes }
  const planned = await planLoad(repository, { ...options, maxMemory, imageToImage: true })
  const pipeline = await loadPipeline(repository, { device: 'wasm', maxMemory })
  onTestFinished(() => pipeline.dispose())
  let peak = 0
  const image = { width: 64, height: 64, data: new Uint8ClampedArray(64 * 64 * 4).map((_, i) => i % 251) }
  const { warnings } = await pipeline.generate('a dog', {
    image,
    strength: 1,
    numInferenceSteps: 1,
    onProgress: (progress) => {
      if (progress.type === 'memory') peak = progress.memory.peakWeights
    },
  })
  expect(peak).toBe(planned.devices.wasm!.peakBytes)
  expect(warnings).toEqual([expect.stringMatching(/these are made with offload model/)])
})

test('a pipeline that does not fit is refused by its headers, before any weights are downloaded', async () => {
  const { server, options } = await served()
  const load = (more: Parameters<typeof loadPipeline>[1]) => loadPipeline(id, { ...options, ...more })
  await expect(load({ maxMemory: { wasm: '100kB' } })).rejects.toMatchObject({
    code: 'does-not-fit',
    details: { component: 'unet', offered: 100_000 },
  })
  const weights = server.log.filter(
    ({ host, file, range }) => host === 'cdn' && file?.endsWith('.safetensors') && range !== undefined,
  )
  expect(weights).toHaveLength(7)
  for (const { range } of weights) expect(Number(/-(\d+)$/.exec(range ?? '')?.[1])).toBeLessThan(256 << 10)
  expect((await options.hub.cache.files()).filter(({ size }) => size > 50_000)).toEqual([])
  // A pipeline that fits is loaded.
  await (await load({ maxMemory: { wasm: '2MB' } })).dispose()
})

test.each([
  ['tiny-sd15', { sample_size: [8, 16] }, [64, 32]],
  // In a config from before diffusers 0.9, diffusers takes a sample size below 64 for a mistake and uses 64.
  ['tiny-sd15', { sample_size: 32, _diffusers_version: '0.8.1' }, [256, 256]],
  ['tiny-sd15', { sample_size: null }, [256, 256]],
  ['tiny-sdxl', { sample_size: [16, 8] }, [64, 128]],
  ['tiny-sdxl', { sample_size: null }, [1024, 1024]],
  ['tiny-sd3', { sample_size: [16, 8] }, [32, 64]],
  // diffusers fails for these sizes. Aquatint takes the nearest size that can be generated, and adds a note.
  ['tiny-sd15', { sample_size: [0, -8] }, [4, 4], 'size-replaced'],
  ['tiny-sd15', { sample_size: [8.5, 0.5] }, [4, 32], 'size-replaced'],
  ['tiny-sd3', { sample_size: 5 }, [16, 16], 'size-replaced'],
  ['tiny-sd3', { sample_size: 0 }, [8, 8], 'size-replaced'],
  ['tiny-sd15', { sample_size: [1e9, 8] }, [32, 8192], 'size-replaced'],
] as const)(
  '%s of %j is planned for the size that a loaded pipeline makes by default',
  async (name, config, pixels, note?: string) => {
    const own = join(fixtures, name, 'repo')
    const path = name === 'tiny-sd3' ? 'transformer/config.json' : 'unet/config.json'
    const written = JSON.parse(readFileSync(join(own, path), 'utf8')) as object
    const repository = diskRepository(own, { [path]: JSON.stringify({ ...written, ...config }) })
    const { width, height, notes } = await planLoad(repository, { device: 'wasm' })
    expect(notes.map(({ code }) => code)).toEqual(note === undefined ? [] : [note])
    const pipeline = await loadPipeline(repository, { device: 'wasm' })
    onTestFinished(() => pipeline.dispose())
    expect([pipeline.info.defaults.width, pipeline.info.defaults.height]).toEqual([width, height])
    expect([width, height]).toEqual(pixels)
  },
)

test.each([
  [{ width: 100 }, 'size'],
  [{ height: -8 }, 'size'],
  [{ width: 1e9 }, 'size'],
  [{ numImagesPerPrompt: 65 }, 'num-images-per-prompt'],
  [{ maxSequenceLength: 0 }, 'max-sequence-length'],
  [{ guidanceScale: 1e9 }, 'guidance-scale'],
  [{ dtype: 'q3' as 'q4' }, 'dtype'],
  [{ maxMemory: { wasm: '1kB' } }, 'does-not-fit'],
  [{ components: { unet: null } }, 'components'],
])('%j is refused', async (options, code) => {
  await expect(planLoad(diskRepository(folder), { device: 'wasm', ...options })).rejects.toMatchObject({ code })
})
