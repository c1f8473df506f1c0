/**
 * Whole pipelines of other families than budget.browser.test.ts on a real GPU device: what is compiled, blocks within a budget, pictures of
 * many sizes, and a GPU that has less memory than expected.
 */
import { autoencoderOf } from './memory-needs.js'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import type { Repository } from '../../hub/types.js'
import { DeviceError } from '../../errors.js'
import type { ComponentNeeds } from '../../memory/needs.js'
import { leastActivations, leastWeightBudget } from '../../memory/plan.js'
import { TestSource } from '../../runtime/testing.js'
import { ScarceGpu } from '../../runtime/webgpu/testing-gpu.js'
import { ComponentHost } from '../execution/component-host.js'
import { failuresOf, Recovery } from '../execution/recovery.js'
import { heldOn, latentSize, needsOn } from './memory-needs.js'
import { openPipeline, type OpenedPipeline } from '../loading/open-pipeline.js'
import { planPipeline } from '../loading/plan-pipeline.js'
import { Run } from '../run.js'
import { stableDiffusion3 } from '../families/stable-diffusion-3.js'
import { stableDiffusion } from '../families/stable-diffusion.js'
import { scaledLatents } from '../images/latent-scaling.js'
import { createPipeline } from '../generation/loaded-pipeline.js'
import type { PipelineFamily } from '../generation/pipeline-family.js'
import { caseOptions } from '../testing-cases.js'
import { fetchCase, servedRepository } from '../testing.js'
import type { GenerateHooks } from '../run.js'
import type { GenerateOptions, GenerateResult, LoadPipelineOptions, PlainTensor } from '../types.js'
import { decodeLatents } from '../images/vae-decode.js'
import type { Device } from '../../runtime/device.js'

const sd3 = servedRepository('tiny-sd3', import.meta.glob('../../../fixtures/tiny-sd3/repo/**'))
const served = servedRepository('tiny-sd15', import.meta.glob('../../../fixtures/tiny-sd15/repo/**'))
/** The repository with a config for pictures of 64 × 64 instead of 256 × 256, because a load plans for the default size. */
const sd15: Repository = {
  ...served,
  open: async (path) => {
    const source = await served.open(path)
    if (path !== 'unet/config.json') return source
    const text = new TextDecoder().decode(await source.read({ begin: 0, end: source.byteLength }))
    return new TestSource(new TextEncoder().encode(JSON.stringify({ ...(JSON.parse(text) as object), sample_size: 16 })))
  },
}

const noMemory = new DeviceError('out-of-memory', 'no room')

/**
 * `kernels`: the number of different kernels that are compiled for a picture in float32 on a GPU without subgroups. They are kernels of
 * onnxruntime 1.30, and kernels that replace sequences of these.
 */
const families = {
  'tiny-sd15': {
    repository: sd15,
    spec: stableDiffusion,
    denoiser: 'unet',
    offload: 'model',
    // The activations of SD 1.5's autoencoder need more memory than all other components.
    streams: null,
    kernels: 57,
    leastOf: leastWeightBudget,
  },
  'tiny-sd3': {
    repository: sd3,
    spec: stableDiffusion3,
    denoiser: 'transformer',
    offload: 'resident',
    // T5 with its default of 256 tokens needs by far the most memory.
    streams: 'text_encoder_3',
    kernels: 66,
    // Two of T5's few blocks hold almost all of its weights, so the budget is for one block at a time.
    leastOf: ({ blocks, sharedBytes }: ComponentNeeds) => sharedBytes + Math.max(...blocks.map(({ bytes }) => bytes)),
  },
} as const

interface Loaded {
  readonly opened: OpenedPipeline<PipelineFamily>
  readonly device: Device
  /** Runs one step of the fixture's first case. */
  readonly generate: (options?: Partial<GenerateOptions & GenerateHooks>) => Promise<GenerateResult>
  readonly size: { readonly width: number; readonly height: number }
  readonly dispose: () => Promise<void>
}

async function load(name: keyof typeof families, options: LoadPipelineOptions): Promise<Loaded> {
  const { repository, spec, denoiser } = families[name]
  const { item } = await fetchCase(name)
  const opened = await openPipeline(repository, { ...options, device: 'webgpu' }, [spec])
  const pipeline = createPipeline(opened)
  const { maxSequenceLength: _, ...call } = caseOptions(item, '')
  return {
    opened,
    device: opened.hosts.of(denoiser).device,
    generate: (more) => pipeline.generate(item.prompt, { ...call, numInferenceSteps: 1, ...more }),
    size: item,
    dispose: () => pipeline.dispose(),
  }
}

const imageOf = ({ captured }: GenerateResult): PlainTensor => captured!['image']!

describe.each(['tiny-sd15', 'tiny-sd3'] as const)('%s', (name) => {
  let loaded: Loaded
  let gpu: ScarceGpu
  let image: PlainTensor
  const shaders = vi.spyOn(GPUDevice.prototype, 'createShaderModule')
  const pipelines = [
    vi.spyOn(GPUDevice.prototype, 'createComputePipeline'),
    vi.spyOn(GPUDevice.prototype, 'createComputePipelineAsync'),
  ]
  const compiled = () => pipelines.reduce((sum, { mock }) => sum + mock.calls.length, shaders.mock.calls.length)
  beforeAll(async () => {
    gpu = new ScarceGpu()
    loaded = await load(name, { offload: families[name].offload })
    for (const spy of [shaders, ...pipelines]) spy.mockClear()
    image = imageOf(await loaded.generate({ capture: ['image'] }))
  })
  afterAll(async () => {
    await loaded.dispose()
    expect(gpu.live).toBe(0)
    gpu.end()
  })

  test('a generation compiles no kernel twice, and a second one compiles nothing', async () => {
    const kernels = new Map<string, number>()
    for (const [{ code }] of shaders.mock.calls) kernels.set(code, (kernels.get(code) ?? 0) + 1)
    expect(kernels.size).toBe(families[name].kernels)
    expect(compiled()).toBe(2 * shaders.mock.calls.length)
    // The keys of onnxruntime's kernel cache contain values that the WGSL does not depend on, so it compiles equal WGSL twice. Then
    // the browser already has the compiled code.
    const again = shaders.mock.calls.filter(([{ code }]) => (kernels.get(code) ?? 0) > 1).map(([{ label }]) => label ?? '')
    expect(['ComputeChannelScaleShift', 'Conv2dMM', 'Transpose']).toEqual(expect.arrayContaining([...new Set(again)]))
    const before = compiled()
    expect(imageOf(await loaded.generate({ capture: ['image'] }))).toEqual(image)
    expect(compiled()).toBe(before)
  })

  test('in blocks: measured ≤ planned ≤ budget, with the same bits', async () => {
    const { opened, device, size } = loaded
    const { networks } = opened.parts
    // Plans the model's default size, as the load did.
    const request = {
      device,
      networks,
      here: () => true,
      dtype: 'float32',
      vaeTiling: undefined,
      size: latentSize(networks),
    } as const
    const needs = needsOn(request)
    const held = heldOn(request, needs)
    const { repository, spec, streams, leastOf } = families[name]
    const maxMemory = held + Math.max(...needs.map((need) => leastOf(need) + leastActivations(need)))
    const { width, height } = size
    const planned = await planPipeline(repository, { device: 'webgpu', offload: 'block', maxMemory, width, height }, [spec])
    const plan = planned.devices.webgpu!
    expect(plan).toMatchObject({ residence: 'block', maxMemory })

    const tight = await load(name, { offload: 'block', maxMemory })
    const result = await tight.generate({ capture: ['image'] })
    expect(result.warnings).toEqual([])
    expect(imageOf(result)).toEqual(image)
    const memory = tight.device.memory.snapshot()
    await tight.dispose()
    expect(memory.peak).toBeLessThanOrEqual(plan.peakBytes)
    expect(plan.peakBytes).toBeLessThanOrEqual(maxMemory)
    for (const part of plan.components) expect(memory.components[part.name]?.peakWeights, part.name).toBe(part.peakWeightBytes)
    const streaming = plan.components.some((part) => part.name === streams && part.streamedBytes > 0)
    expect(streaming).toBe(streams !== null)
  })

  if (families[name].offload === 'resident')
    test('pictures of many sizes leave nothing behind but weights', async () => {
      const { device, generate, size } = loaded
      const left: number[] = []
      for (const [wider, images] of [
        [0, 1],
        [8, 1],
        [16, 1],
        [0, 2],
      ] as const) {
        await generate({ width: size.width + wider, height: size.height, numImagesPerPrompt: images })
        const { live, liveWeights } = device.memory.snapshot()
        left.push(live - liveWeights)
      }
      // Sessions keep constants, and onnxruntime keeps uniforms for each kernel.
      expect(Math.max(...left) - Math.min(...left)).toBeLessThan(2 ** 14)
    })

  if (name === 'tiny-sd15')
    test('a decode that does not fit uses tiles, with a warning', async () => {
      const { opened, device, generate } = loaded
      const large = { width: 160, height: 64, guidanceScale: 1, capture: ['image', 'latents'] } as const
      const whole = await generate(large)
      expect(whole.warnings).toEqual([])

      // The limit is below what a whole image needs, so that buffers kept for reuse do not raise the measured peak.
      const host = new ComponentHost({ device, dtype: 'float32', offload: 'model', budget: { limit: 3e6 } })
      const vae = autoencoderOf(opened.parts.networks)!
      const full = new Recovery().retrying(new Run({}), () =>
        failuresOf({ host, network: vae, part: 'decoder' }, async () => Promise.reject(noMemory)),
      )
      await expect(full).rejects.toMatchObject({ code: noMemory.code })
      const last = whole.captured!['latents_0']!
      const latents = device.upload({ type: 'float32', ...last }, 'vae')
      device.memory.resetPeaks()
      const tiled = await decodeLatents(vae, latents, scaledLatents(vae.model.scaling, 4), host, new Run({}))
      latents.dispose()
      await host.settle()
      const inTiles = device.memory.snapshot().peak
      expect(tiled).not.toEqual(imageOf(whole))

      const warned: string[] = []
      const result = await generate({
        ...large,
        onProgress: (progress) => {
          if (progress.type === 'warning') warned.push(progress.code)
          // The limit is set only now, because denoising needs more memory than decoding in tiles.
          if (progress.type === 'status' && progress.phase === 'decoding') gpu.limit = inTiles + 2 ** 16
        },
      })
      expect(gpu.refusals).toBeGreaterThan(0)
      expect(imageOf(result)).toEqual(tiled)
      expect(result.warnings).toEqual([
        'vae did not fit into memory; from now on offload is block.',
        'vae did not fit into memory; from now on fewer of its weights stay loaded.',
        'The image did not fit into memory as a whole; it is decoded in tiles of 32 latent pixels.',
      ])
      expect(warned).toEqual(['out-of-memory', 'out-of-memory', 'vae-tiled'])
    })
})
