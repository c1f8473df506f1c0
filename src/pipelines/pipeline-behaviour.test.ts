/** Tests errors, events, cancelling, replaced components and disposal of pipelines, with small real checkpoints on the CPU. */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { startHubServer } from '../../e2e/hub-server/server.js'
import { Hub } from '../hub/hub.js'
import { MemoryStore } from '../hub/cache/memory-store.js'
import type { Repository } from '../hub/types.js'
import { loadPipeline, planLoad } from './diffusion-pipeline.js'
import { diskRepository, fixtures } from './testing.node.js'
import type { GenerateOptions, LoadPipelineOptions, PipelineProgress, PlannedSize, StepInfo } from './types.js'

const sd15 = join(fixtures, 'tiny-sd15/repo')
const sdxl = join(fixtures, 'tiny-sdxl/repo')
const json = (folder: string, path: string) => JSON.parse(readFileSync(join(folder, path), 'utf8')) as Record<string, unknown>
const wasm = { device: 'wasm' } as const
const small: GenerateOptions = { width: 32, height: 32, numInferenceSteps: 2, seed: 1 }

async function refusal(
  action: () => Promise<unknown>,
): Promise<{ code: string; details: Record<string, unknown>; message: string }> {
  try {
    await action()
  } catch (error) {
    return error as { code: string; details: Record<string, unknown>; message: string }
  }
  throw new Error('It was accepted')
}

const load = (folder: string, replaced: Record<string, string | Uint8Array | null>, options: LoadPipelineOptions = {}) => {
  const repository = diskRepository(folder, replaced)
  return { repository, promise: () => loadPipeline(repository, { ...wasm, ...options }) }
}

const changed = (folder: string, path: string, keys: Record<string, unknown>) => ({
  [path]: JSON.stringify({ ...json(folder, path), ...keys }),
})

test('a component that is never used can be left out even if the repository has none', async () => {
  expect(json(sdxl, 'model_index.json')).not.toHaveProperty('image_encoder')
  const pipeline = await load(sdxl, {}, { components: { image_encoder: null, feature_extractor: null } }).promise()
  await pipeline.dispose()
})

// With diffusers, the images of each pair of sizes are equal too, in all three classes.
test.each(['tiny-flux', 'tiny-flux2-klein', 'tiny-chroma'])('%s rounds a size down, with a warning', async (name) => {
  const pipeline = await load(join(fixtures, name, 'repo'), {}).promise()
  const call = { numInferenceSteps: 1, maxSequenceLength: 64, seed: 1 }
  const even = await pipeline.generate('a dog', { ...call, width: 16, height: 12 })
  const odd = await pipeline.generate('a dog', { ...call, width: 17, height: 15 })
  expect(odd.images).toEqual(even.images)
  expect(odd.warnings).toEqual([
    ...even.warnings,
    'width 17 is no multiple of 4; the image has 16, as in diffusers.',
    'height 15 is no multiple of 4; the image has 12, as in diffusers.',
  ])
  expect((await refusal(() => pipeline.generate('a dog', { ...call, width: 3 }))).code).toBe('size')
  await pipeline.dispose()

  const planned = (options: PlannedSize) => planLoad(diskRepository(join(fixtures, name, 'repo')), { ...wasm, ...options })
  const plan = await planned({ width: 16, height: 12 })
  const warnings = [...plan.warnings, ...odd.warnings.slice(-2)]
  expect(await planned({ width: 17, height: 15 })).toEqual({ ...plan, warnings })
  expect((await refusal(() => planned({ width: 3 }))).code).toBe('size')
  // An image to start from is not rounded; reference images leave the size as it is.
  const fromImage = planned({ width: 17, height: 12, imageToImage: true })
  if (name === 'tiny-flux2-klein') expect(await fromImage).toMatchObject({ width: 16, height: 12 })
  else expect((await refusal(() => fromImage)).code).toBe('size')
})

test.each<[string, string, Record<string, string | Uint8Array | null>, LoadPipelineOptions, string, Record<string, unknown>]>([
  ['no model_index.json', sd15, { 'model_index.json': null }, {}, 'file-not-found', { path: 'model_index.json' }],
  [
    'an unknown pipeline',
    sd15,
    changed(sd15, 'model_index.json', { _class_name: 'KandinskyPipeline' }),
    {},
    'unsupported-class',
    { component: 'pipeline', className: 'KandinskyPipeline' },
  ],
  [
    'an unknown class of a component',
    sd15,
    changed(sd15, 'model_index.json', { unet: ['diffusers', 'UNet3DConditionModel'] }),
    {},
    'unsupported-class',
    { component: 'unet', className: 'UNet3DConditionModel', supported: ['UNet2DConditionModel'] },
  ],
  [
    'an unknown scheduler',
    sd15,
    changed(sd15, 'model_index.json', { scheduler: ['diffusers', 'VQDiffusionScheduler'] }),
    {},
    'unsupported-class',
    { component: 'scheduler', className: 'VQDiffusionScheduler' },
  ],
  ['no UNet', sd15, changed(sd15, 'model_index.json', { unet: [null, null] }), {}, 'component-missing', { component: 'unet' }],
  [
    'an unknown config value',
    sd15,
    changed(sd15, 'unet/config.json', { act_fn: 'swishish' }),
    {},
    'unsupported-config',
    { key: 'act_fn', className: 'UNet2DConditionModel' },
  ],
  [
    'an unknown scheduler value',
    sd15,
    changed(sd15, 'scheduler/scheduler_config.json', { beta_schedule: 'sigmoid' }),
    {},
    'unsupported-config',
    { key: 'beta_schedule' },
  ],
  [
    'a missing shard',
    sd15,
    { 'unet/diffusion_pytorch_model-00002-of-00003.safetensors': null },
    {},
    'shard-missing',
    { index: 'unet/diffusion_pytorch_model.safetensors.index.json' },
  ],
  [
    'a shard that is too short',
    sd15,
    {
      'unet/diffusion_pytorch_model-00002-of-00003.safetensors': readFileSync(
        join(sd15, 'unet/diffusion_pytorch_model-00002-of-00003.safetensors'),
      ).subarray(0, -4),
    },
    {},
    'safetensors-offsets',
    { file: 'unet/diffusion_pytorch_model-00002-of-00003.safetensors' },
  ],
  [
    'a tensor of the wrong shape',
    sd15,
    changed(sd15, 'text_encoder/config.json', { intermediate_size: 48 }),
    {},
    'shape-mismatch',
    {},
  ],
  [
    'a UNet for wider prompt embeddings',
    sd15,
    changed(sd15, 'unet/config.json', { cross_attention_dim: 48 }),
    {},
    'unsupported-config',
    {},
  ],
  [
    'weights only as pickle',
    sd15,
    { 'vae/diffusion_pytorch_model.safetensors': null, 'vae/diffusion_pytorch_model.bin': 'x' },
    {},
    'pickle-weights',
    { folder: 'vae' },
  ],
  ['a variant that is not there', sd15, {}, { variant: 'fp16' }, 'variant-not-found', { variant: 'fp16' }],
  ['an invalid variant', sd15, {}, { variant: '../x' }, 'variant-name', {}],
  ['a component that is not there', sd15, {}, { components: { controlnet: 'a/b' } }, 'components', { component: 'controlnet' }],
  ['a component left out that is needed', sd15, {}, { components: { unet: null } }, 'components', { component: 'unet' }],
  ['a subfolder that leads out', sd15, {}, { components: { unet: { repo: 'a/b', subfolder: '../x' } } }, 'components', {}],
  ['no tokenizer files', sd15, { 'tokenizer/vocab.json': null }, {}, 'tokenizer-vocabulary', {}],
  ['an invalid budget', sd15, {}, { maxMemory: '6 apples' }, 'bad-memory-size', {}],
  ['an unknown dtype', sd15, {}, { dtype: 'int4' as 'float16' }, 'dtype', {}],
  ['an unknown device', sd15, {}, { device: 'tpu' as 'wasm' }, 'bad-device', {}],
  ['an unknown offload', sd15, {}, { offload: 'disk' as 'model' }, 'offload', {}],
])('refuses %s', async (_, folder, replaced, options, code, details) => {
  const error = await refusal(load(folder, replaced, options).promise)
  expect(error.code).toBe(code)
  expect(error.details).toMatchObject(details)
})

test('unsupported checkpoints are refused before weights are opened', async () => {
  const { repository, promise } = load(sd15, changed(sd15, 'unet/config.json', { act_fn: 'swishish' }))
  await refusal(promise)
  expect(repository.opened.filter((path) => path.endsWith('.safetensors') || path.endsWith('.index.json'))).toEqual([])
})

test('a component that fails ends the downloads of the others', async () => {
  const weights = 'vae/diffusion_pytorch_model.safetensors'
  const files = diskRepository(sd15, { [weights]: readFileSync(join(sd15, weights)).subarray(0, -4) })
  const stopped: string[] = []
  const repository: Repository = {
    ...files,
    open: (path, options) =>
      path.startsWith('unet/') && path.endsWith('.safetensors')
        ? new Promise((_, reject) => {
            options?.signal?.addEventListener('abort', () => {
              stopped.push(path)
              reject(new DOMException('', 'AbortError'))
            })
          })
        : files.open(path, options),
  }
  const error = await refusal(() => loadPipeline(repository, wasm))
  expect(error.code).toBe('safetensors-offsets')
  expect(stopped).toHaveLength(3)
})

test('a cached model does not change until the newest version is requested', async () => {
  const server = await startHubServer({ repositories: { 'owner/name': sd15 } })
  try {
    const hub = await Hub.open({ store: new MemoryStore() })
    const classOf = async (options: LoadPipelineOptions) => {
      const pipeline = await loadPipeline('owner/name', { ...wasm, hub, endpoint: server.url, ...options })
      await pipeline.dispose()
      return pipeline.info.className
    }
    expect(await classOf({})).toBe('StableDiffusionPipeline')
    server.setRepository('owner/name', sdxl)
    server.clearLog()
    expect(await classOf({})).toBe('StableDiffusionPipeline')
    expect(server.log).toEqual([])
    expect(await classOf({ revalidate: true })).toBe('StableDiffusionXLPipeline')
  } finally {
    await server.close()
  }
})

test('inputs are checked before anything is loaded on the device', async () => {
  const pipeline = await loadPipeline(diskRepository(sdxl), wasm)
  const wrong: [string, GenerateOptions][] = [
    ['size', { ...small, width: 33 }],
    ['size', { ...small, height: 0 }],
    ['size', { ...small, height: 1e6 }],
    ['size', { ...small, originalSize: [1, -1] }],
    ['num-inference-steps', { ...small, numInferenceSteps: 0 }],
    ['num-inference-steps', { ...small, numInferenceSteps: 2.5 }],
    ['num-inference-steps', { ...small, numInferenceSteps: 1001 }],
    ['guidance-scale', { ...small, guidanceScale: Number.NaN }],
    ['guidance-rescale', { ...small, guidanceRescale: 2 }],
    ['num-images-per-prompt', { ...small, numImagesPerPrompt: 0 }],
    ['seed', { ...small, seed: 0.5 }],
    ['eta', { ...small, eta: -1 }],
    ['clip-skip', { ...small, clipSkip: 99 }],
    ['prompt', { ...small, negativePrompt: 3 as unknown as string }],
    ['capture', { ...small, capture: ['weights' as 'image'] }],
    ['preview-every', { ...small, previewEvery: -1 }],
    ['unsupported-class', { ...small, scheduler: { className: 'X' } }],
    ['set-timesteps', { ...small, timesteps: [1, 2, 3], sigmas: [1, 0] }],
  ]
  for (const [code, options] of wrong)
    expect([code, (await refusal(() => pipeline.generate('a dog', options))).code]).toEqual([code, code])
  expect((await refusal(() => pipeline.generate(undefined as unknown as string, small))).code).toBe('prompt')
  const events: PipelineProgress[] = []
  await refusal(() => pipeline.generate('a dog', { ...small, width: 33, onProgress: (event) => events.push(event) }))
  expect(events).toEqual([])
  await pipeline.dispose()
})

test('reports files, weights, phases, steps and previews; a long prompt works with a warning', async () => {
  const events: PipelineProgress[] = []
  const onProgress = (event: PipelineProgress) => events.push(event)
  const pipeline = await loadPipeline(diskRepository(sd15), { ...wasm, offload: 'model', onProgress })
  expect(events.flatMap((event) => (event.type === 'status' ? [event.phase] : []))).toEqual(['resolving', 'downloading', 'ready'])
  expect(pipeline.info.components['unet']).toMatchObject({ className: 'UNet2DConditionModel' })
  expect(pipeline.info.components['unet']!.bytes).toBe(4 * pipeline.info.components['unet']!.parameters)

  events.length = 0
  const steps: StepInfo[] = []
  const prompt = 'a dog on the grass, '.repeat(500)
  const result = await pipeline.generate(prompt, { ...small, previewEvery: 2, onProgress, onStep: (step) => steps.push(step) })
  expect(prompt.length).toBe(10_000)
  expect(result.warnings).toHaveLength(1)
  expect(result.warnings[0]).toMatch(
    /^The following part of your input was truncated because the text encoder can only handle sequences up to 77 tokens: /,
  )
  expect(events.flatMap((event) => (event.type === 'status' ? [event.phase] : []))).toEqual([
    'encoding',
    'denoising',
    'decoding',
    'complete',
  ])
  expect(new Set(events.flatMap((event) => (event.type === 'weights' ? [event.component] : [])))).toEqual(
    new Set(['text_encoder', 'unet', 'vae']),
  )
  expect(steps.map(({ step, total }) => [step, total])).toEqual([
    [0, 3],
    [1, 3],
    [2, 3],
  ])
  expect(steps.map(({ preview }) => preview?.width)).toEqual([undefined, 8, undefined])
  const last = events.findLast((event) => event.type === 'memory')
  const largest = Math.max(...Object.values(pipeline.info.components).map(({ bytes }) => bytes))
  // One component at a time: the peak is one component's, and nothing stays between generations.
  expect(last!.memory.peakWeights).toBeLessThanOrEqual(largest)
  expect(last!.memory.liveWeights).toBe(0)
  await pipeline.dispose()
})

test('resident weights stay between generations, and are gone after disposal', async () => {
  const events: PipelineProgress[] = []
  const onProgress = (event: PipelineProgress) => events.push(event)
  const pipeline = await loadPipeline(diskRepository(sd15), { ...wasm, offload: 'resident' })
  await pipeline.generate('a dog', { ...small, onProgress })
  expect(events.findLast((event) => event.type === 'memory')!.memory.liveWeights).toBeGreaterThan(0)
  events.length = 0
  await pipeline.generate('a dog', { ...small, onProgress })
  expect(events.filter((event) => event.type === 'weights')).toEqual([])
  await pipeline.dispose()
  expect((await refusal(() => pipeline.generate('a dog', small))).code).toMatch(/disposed/)
})

test('cancelling stops at the next step and leaves the pipeline usable', async () => {
  const pipeline = await loadPipeline(diskRepository(sd15), wasm)
  const controller = new AbortController()
  const steps: number[] = []
  const onStep = ({ step }: StepInfo) => {
    steps.push(step)
    if (step === 1) controller.abort()
  }
  const error = await refusal(() =>
    pipeline.generate('a dog', { ...small, numInferenceSteps: 10, signal: controller.signal, onStep }),
  )
  expect((error as unknown as Error).name).toBe('AbortError')
  expect(steps).toEqual([0, 1])
  expect((await pipeline.generate('a dog', small)).images).toHaveLength(1)
  await pipeline.dispose()

  const aborted = AbortSignal.abort()
  const loading = await refusal(() => loadPipeline(diskRepository(sd15), { ...wasm, signal: aborted }))
  expect((loading as unknown as Error).name).toBe('AbortError')
})

test('without a seed, a random one is used and reported, and gives the same image again', async () => {
  const pipeline = await loadPipeline(diskRepository(sd15), wasm)
  const { seed: _, ...rest } = small
  const first = await pipeline.generate('a dog', rest)
  expect(Number.isSafeInteger(first.seed)).toBe(true)
  const again = await pipeline.generate('a dog', { ...rest, seed: first.seed })
  expect(again.images[0]!.data).toEqual(first.images[0]!.data)
  const other = await pipeline.generate('a dog', { ...rest, seed: first.seed + 1 })
  expect(other.images[0]!.data).not.toEqual(first.images[0]!.data)
  await pipeline.dispose()
})

test('a safety checker is left out with a warning, and unexpected tensors are reported', async () => {
  const events: PipelineProgress[] = []
  const index = changed(sd15, 'model_index.json', { safety_checker: ['stable_diffusion', 'StableDiffusionSafetyChecker'] })
  const pipeline = await loadPipeline(diskRepository(sd15, index), {
    ...wasm,
    onProgress: (event) => events.push(event),
  })
  expect(events.flatMap((event) => (event.type === 'warning' ? [event.code] : []))).toEqual(['component-ignored'])
  await pipeline.dispose()
})

test('old scheduler configs are corrected as StableDiffusionPipeline does', async () => {
  const config = { _class_name: 'DDIMScheduler', beta_start: 0.00085, beta_end: 0.012, beta_schedule: 'scaled_linear' }
  const replaced = {
    'scheduler/scheduler_config.json': JSON.stringify(config),
    ...changed(sd15, 'model_index.json', { scheduler: ['diffusers', 'DDIMScheduler'] }),
  }
  const pipeline = await loadPipeline(diskRepository(sd15, replaced), wasm)
  expect(pipeline.info.scheduler.config).toMatchObject({ steps_offset: 1, clip_sample: false })
  const { captured = {} } = await pipeline.generate('a dog', { ...small, capture: ['timesteps'] })
  expect([...captured['timesteps']!.data]).toEqual([501, 1])
  // The other scheduler uses its own defaults for keys that the config file does not have.
  const other = await pipeline.generate('a dog', { ...small, capture: ['timesteps'], scheduler: { className: 'DDIMScheduler' } })
  expect([...other.captured!['timesteps']!.data]).toEqual([500, 0])
  await pipeline.dispose()
})

test('a scheduler can replace one that is not supported', async () => {
  const index = changed(sd15, 'model_index.json', { scheduler: ['diffusers', 'DPMSolverSDEScheduler'] })
  const scheduler = { className: 'EulerDiscreteScheduler', config: { timestep_spacing: 'trailing' } }
  const pipeline = await loadPipeline(diskRepository(sd15, index), { ...wasm, scheduler })
  expect(pipeline.info.scheduler).toMatchObject({
    className: 'EulerDiscreteScheduler',
    config: { timestep_spacing: 'trailing', beta_schedule: 'scaled_linear' },
  })
  const { captured = {} } = await pipeline.generate('a dog', { ...small, capture: ['timesteps'] })
  expect([...captured['timesteps']!.data]).toEqual([999, 499])
  await pipeline.dispose()
})

test('SDXL without its first text encoder is refused where its UNet needs both, and requests no file of that encoder', async () => {
  const index = changed(sdxl, 'model_index.json', { text_encoder: [null, null], tokenizer: [null, null] })
  const repository = diskRepository(sdxl, index)
  const error = await refusal(() => loadPipeline(repository, wasm))
  expect(error).toMatchObject({ code: 'unsupported-config', message: expect.stringContaining('cross_attention_dim') as string })
  expect(repository.opened.filter((path) => path.startsWith('text_encoder/') || path.startsWith('tokenizer/'))).toEqual([])
})
