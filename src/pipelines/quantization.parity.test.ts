/** `dtype: 'q8' | 'q4'` from a repository to an image, on the CPU: quality, the cache, and refused checkpoints. */

import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { main } from '../../cli/main.js'
import { startHubServer } from '../../e2e/hub-server/server.js'
import { readWeightTable } from '../checkpoint/weight-table.js'
import { float32File, memoryRepository } from '../checkpoint/testing.js'
import type { WeightTable } from '../checkpoint/types.js'
import { HubError } from '../errors.js'
import { Hub } from '../hub/hub.js'
import { MemoryStore } from '../hub/cache/memory-store.js'
import { relativeError as rootMeanSquareError } from '../onnx/testing-operators.js'
import { loadPipeline } from './diffusion-pipeline.js'
import type { OpenPipelineOptions } from './loading/find-pipeline.js'
import { quantizingTransforms } from './loading/dtypes.js'
import { overflowWarning, transformWeights, type TransformRequest } from './loading/transform-weights.js'
import { Run } from './run.js'
import { diskRepository, fixtures, readCases } from './testing.node.js'
import { caseOptions } from './testing-cases.js'
import { psnr, relativeError } from './testing.js'
import type { PipelineProgress, PlainTensor } from './types.js'

const repo = join(fixtures, 'tiny-sdxl/repo')
const { item, reference } = readCases('tiny-sdxl')[0]!

let temporary = ''
beforeAll(async () => {
  temporary = await mkdtemp(join(tmpdir(), 'aquatint-'))
})
afterAll(() => rm(temporary, { recursive: true }))

/** Runs the fixture's first case with these options. */
async function paint(repository: Parameters<typeof loadPipeline>[0], options: OpenPipelineOptions = {}) {
  const pipeline = await loadPipeline(repository, { device: 'wasm', ...options })
  try {
    const { captured = {} } = await pipeline.generate(item.prompt, {
      ...caseOptions(item, pipeline.info.scheduler.className),
      capture: ['noise_pred', 'image'],
    })
    return { info: pipeline.info, image: captured['image']!, noise: captured['noise_pred_0']! }
  } finally {
    await pipeline.dispose()
  }
}

const quality = (image: PlainTensor) => psnr(image, reference['image']!)

/** The means of the fixture's cases: one image says little, because the errors of a small network differ more between inputs than between ways to quantize. */
async function meanQuality(dtype: 'q4') {
  const cases = readCases('tiny-sdxl')
  const pipeline = await loadPipeline(diskRepository(repo), { device: 'wasm', dtype })
  try {
    let [decibels, error] = [0, 0]
    for (const { item, reference } of cases) {
      const options = { ...caseOptions(item, pipeline.info.scheduler.className), capture: ['noise_pred', 'image'] as const }
      const { captured = {} } = await pipeline.generate(item.prompt, options)
      decibels += psnr(captured['image']!, reference['image']!) / cases.length
      error += rootMeanSquareError(captured['noise_pred_0']!.data, reference['noise_pred_0']!.data) / cases.length
    }
    return { info: pipeline.info, decibels, error }
  } finally {
    await pipeline.dispose()
  }
}

// Arithmetic bounds the error of a single block (quantize-rows.test.ts), but not that of an image. The limits here are a little beyond what was measured: q8 43.3 dB and 1.4 % in the first
// case; q4 18.7 dB and 25 % (root mean square), the means of 13 cases. Networks of a few dozen channels with random weights suffer most, because their errors do not average out.
describe('quality against diffusers in float32', () => {
  test('with q8 the image has more than 40 dB, and the noise prediction an error below 2 %', async () => {
    const { image, noise, info } = await paint(diskRepository(repo), { dtype: 'q8' })
    expect(quality(image)).toBeGreaterThan(40)
    expect(relativeError(noise, reference['noise_pred_0']!)).toBeLessThan(0.02)
    expect(quality(image)).toBeLessThan(60)
    const { unet, vae } = info.components
    expect([unet?.quantization, unet?.parameters, vae?.quantization]).toEqual(['q8', 423_028, undefined])
  })

  test('with q4 images have more than 17 dB on average, and noise predictions an error below 27 %', async () => {
    const { info, decibels, error } = await meanQuality('q4')
    expect(decibels).toBeGreaterThan(17)
    // Scales that follow from the range of each block alone give an error of 26.8 %.
    expect(error).toBeLessThan(0.268)
    expect(decibels).toBeLessThan(60)
    const { unet, vae } = info.components
    expect([unet?.quantization, unet?.parameters, vae?.quantization]).toEqual(['q4', 423_028, undefined])
  })

  test('a type for each component', async () => {
    const { info } = await paint(diskRepository(repo), { dtype: { unet: 'q8', text_encoder_2: 'q4' } })
    const found = Object.fromEntries(Object.entries(info.components).map(([name, { quantization }]) => [name, quantization]))
    expect(found).toEqual({ text_encoder: undefined, text_encoder_2: 'q4', unet: 'q8', vae: undefined })
  })
})

test('Stable Diffusion 3: T5 in int4, the transformer in int8, against diffusers in float32', async () => {
  const { item, reference } = readCases('tiny-sd3')[0]!
  const dtype = { text_encoder_3: 'q4', transformer: 'q8' } as const
  const pipeline = await loadPipeline(diskRepository(join(fixtures, 'tiny-sd3/repo')), {
    device: 'wasm',
    dtype,
  })
  const { captured = {} } = await pipeline.generate(item.prompt, {
    ...caseOptions(item, pipeline.info.scheduler.className),
    capture: ['noise_pred', 'image'],
  })
  await pipeline.dispose()
  const { text_encoder: clip, text_encoder_3: t5, transformer } = pipeline.info.components
  expect([clip?.quantization, t5?.quantization, transformer?.quantization]).toEqual([undefined, 'q4', 'q8'])
  // Measured: 36.4 dB and 3.6 %.
  expect(psnr(captured['image']!, reference['image']!)).toBeGreaterThan(33)
  expect(relativeError(captured['noise_pred_0'], reference['noise_pred_0']!)).toBeLessThan(0.05)
})

test('what `aquatint shard --dtype` wrote gives the same image, bit for bit', async () => {
  const out = join(temporary, 'q8')
  const io = { stdout: () => {}, stderr: () => {}, isTerminal: false, columns: 80, signal: new AbortController().signal }
  expect(
    await main(['shard', repo, '--out', out, '--dtype', 'q8', '--dtype', 'vae=float32', '--max-shard-size', '200KB'], io),
  ).toBe(0)
  const [published, made] = [await paint(diskRepository(out)), await paint(diskRepository(repo), { dtype: 'q8' })]
  expect(published.image.data).toEqual(made.image.data)
  expect(published.info.components).toMatchObject({ unet: { quantization: 'q8', parameters: 423_028 } })
})

describe('the cache', () => {
  test('keeps quantized copies, makes another one from the cached original, and downloads nothing twice', async () => {
    const server = await startHubServer({ repositories: { 'tiny/sdxl': repo } })
    try {
      const hub = await Hub.open({ store: new MemoryStore() })
      const load = async (dtype: 'q8' | 'q4') => {
        server.clearLog()
        const files: string[] = []
        const onProgress = (progress: PipelineProgress) => {
          if (progress.type === 'file' && progress.file.path.includes('('))
            files.push(`${progress.file.path} ${progress.file.cached === progress.file.total ? 'cached' : progress.file.phase}`)
        }
        const painted = await paint('tiny/sdxl', { dtype, hub, endpoint: server.url, onProgress })
        return {
          ...painted,
          requests: server.log.filter((entry) => entry.kind === 'file' || entry.kind === 'resolve').length,
          files: new Set(files),
        }
      }
      const prepared = async () => (await hub.store.chunkFiles()).filter((key) => key.startsWith('prepared:')).length
      const first = await load('q8')
      expect(first.requests).toBeGreaterThan(7)
      expect(first.files).toContain('unet (q8) complete')
      expect(await prepared()).toBe(3)
      const second = await load('q8')
      expect(second.requests).toBe(0)
      expect([...second.files].toSorted()).toEqual(['text_encoder (q8) cached', 'text_encoder_2 (q8) cached', 'unet (q8) cached'])
      expect(second.image.data).toEqual(first.image.data)
      expect(await prepared()).toBe(3)
      const other = await load('q4')
      expect(other.requests).toBe(0)
      expect(await prepared()).toBe(6)
      const direct = await paint(diskRepository(repo), { dtype: 'q4' })
      expect(other.image.data).toEqual(direct.image.data)
      // The original can be deleted: the quantized copy is enough.
      for (const { key, path } of await hub.cache.files())
        if (path.endsWith('.safetensors') && !path.startsWith('vae/')) expect(await hub.cache.deleteFile(key)).toBeGreaterThan(0)
      const small = await load('q8')
      expect(small.requests).toBe(0)
      expect(small.image.data).toEqual(first.image.data)
    } finally {
      await server.close()
    }
  })
})

test('without the original in the cache the next start makes no request', async () => {
  const server = await startHubServer({ repositories: { 'tiny/sdxl': repo } })
  try {
    const hub = await Hub.open({ store: new MemoryStore() })
    const load = (dtype: 'q8' | 'q4', keepOriginal = false) =>
      paint('tiny/sdxl', { dtype, hub, endpoint: server.url, keepOriginal })
    const weights = async () =>
      (await hub.cache.files()).filter(({ path }) => path.endsWith('.safetensors')).map(({ path }) => path)
    const first = await load('q8', true)
    expect((await weights()).length).toBeGreaterThan(5)
    server.clearLog()
    // The original is deleted even if an earlier load kept it. The autoencoder's original stays: the autoencoder is not quantized, so it
    // has no copy.
    await load('q8')
    expect(await weights()).toEqual(['vae/diffusion_pytorch_model.safetensors'])
    const second = await load('q8')
    expect(server.log).toEqual([])
    expect(second.image.data).toEqual(first.image.data)
    await load('q4')
    expect(server.log.filter((entry) => entry.kind === 'file').length).toBeGreaterThan(2)
  } finally {
    await server.close()
  }
})

const readA = (table: WeightTable, signal?: AbortSignal) => table.get('a')!.source.read({ begin: 0, end: 32 }, { signal })

test('a lost quantized copy whose original could not be read is made again by the next read, under its own signal', async () => {
  const hub = await Hub.open({ store: new MemoryStore() })
  const contents = [`sha256:${'0'.repeat(64)}`]
  const files = memoryRepository({ 'w.safetensors': float32File({ a: [4, 4] }) })
  const table = await readWeightTable(files, { kind: 'single', path: 'w.safetensors', variant: null })
  for (const { source } of table.values()) Object.assign(source, { contentKey: contents[0] })
  const quantize = (read: TransformRequest['read']) =>
    transformWeights(
      { component: 'unet', transforms: quantizingTransforms('q8', undefined), label: 'q8', contents, read },
      hub,
      new Run({}),
    )
  const made = await quantize(() => Promise.resolve(table))

  const signals: (AbortSignal | undefined)[] = []
  const { table: small } = await quantize((signal) => {
    signals.push(signal)
    return signals.length === 1 ? Promise.reject(new HubError('network', 'down')) : Promise.resolve(table)
  })
  const expected = await readA(made.table)
  const [key] = await hub.store.chunkFiles()
  for (const blob of (await hub.store.chunks(key!)).values())
    Object.assign(blob, { slice: () => ({ arrayBuffer: () => Promise.reject(new DOMException('gone', 'NotReadableError')) }) })
  const stop = new AbortController()
  await expect(readA(small)).rejects.toMatchObject({ code: 'network' })
  expect(await readA(small, stop.signal)).toEqual(expected)
  expect(signals[1]).toBe(stop.signal)
})

test('values that float16 cannot hold are reported', async () => {
  const bytes = float32File({ 'linear.weight': [4, 32], norm: [4] })
  new DataView(bytes.buffer).setFloat32(bytes.byteLength - 4, 70_000, true)
  const files = memoryRepository({ 'w.safetensors': bytes })
  const read = () => readWeightTable(files, { kind: 'single', path: 'w.safetensors', variant: null })
  const run = new Run({})
  const transforms = quantizingTransforms('q8', undefined, overflowWarning('unet', run))
  const { table } = await transformWeights({ component: 'unet', transforms, label: 'q8', contents: [], read }, undefined, run)
  const { source, begin, end } = table.get('norm')!
  await source.read({ begin, end })
  expect(run.warnings).toEqual([expect.stringMatching(/^unet: norm has values that float16 cannot hold/)])
})

describe('refused checkpoints', () => {
  test.each([
    ['an unknown type', 'int8', /dtype is "int8"; allowed are float32, float16, q8, q4/],
    ['an unknown type for a component', { unet: 'q2' }, /dtype\.unet is "q2"/],
    [
      'a component that does not exist',
      { transformer: 'q8' },
      /dtype names "transformer"; the networks of this pipeline are text_encoder/,
    ],
    ['null', null, /dtype is null/],
  ])('%s', async (_, dtype, message) => {
    const options = { dtype } as unknown as OpenPipelineOptions
    await expect(paint(diskRepository(repo), options)).rejects.toThrow(
      expect.objectContaining({ code: 'dtype', message: expect.stringMatching(message) as string }),
    )
  })

  test('a checkpoint that another tool quantized', async () => {
    const config = JSON.stringify({ _class_name: 'UNet2DConditionModel', quantization_config: { quant_method: 'bitsandbytes' } })
    await expect(paint(diskRepository(repo, { 'unet/config.json': config }))).rejects.toThrow(
      expect.objectContaining({ code: 'unsupported-config' }),
    )
  })

  test('a checkpoint that Aquatint quantized to other bits', async () => {
    const config = JSON.stringify({
      _class_name: 'UNet2DConditionModel',
      quantization_config: { quant_method: 'aquatint', bits: 3 },
    })
    await expect(paint(diskRepository(repo, { 'unet/config.json': config }))).rejects.toThrow(
      expect.objectContaining({ code: 'quantization-config' }),
    )
  })

  test('weights that are not finite', async () => {
    const path = 'text_encoder/model.safetensors'
    const bytes = Uint8Array.from(await readFile(join(repo, path)))
    const header = Number(new DataView(bytes.buffer).getBigUint64(0, true))
    bytes.fill(0xff, 8 + header)
    await expect(paint(diskRepository(repo, { [path]: bytes }), { dtype: 'q8' })).rejects.toThrow(
      expect.objectContaining({ code: 'weight-not-finite' }),
    )
  })
})
