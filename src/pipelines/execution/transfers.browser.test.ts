/**
 * Counts the transfers between host and GPU in a whole generation, on the GPU's own interfaces, including onnxruntime's calls. The host reads back the
 * picture and two counters for each step, but no tensor that one network passes to another.
 */
import { afterEach, expect, test, vi } from 'vitest'
import { loadPipeline, type LoadedPipeline } from '../diffusion-pipeline.js'
import { caseOptions } from '../testing-cases.js'
import { fetchCase, servedRepository } from '../testing.js'
import type { PipelineProgress } from '../types.js'
import { shareGpuDevices } from '../../runtime/webgpu/testing-shared-gpu.js'

shareGpuDevices()

const repositories = {
  'tiny-sd15': servedRepository('tiny-sd15', import.meta.glob('../../../fixtures/tiny-sd15/repo/**')),
  'tiny-sdxl': servedRepository('tiny-sdxl', import.meta.glob('../../../fixtures/tiny-sdxl/repo/**')),
  'tiny-sd3': servedRepository('tiny-sd3', import.meta.glob('../../../fixtures/tiny-sd3/repo/**')),
}

let pipeline: LoadedPipeline | undefined
afterEach(async () => {
  vi.restoreAllMocks()
  await pipeline?.dispose()
  pipeline = undefined
})

/** GPUMapMode.READ and GPUBufferUsage.STORAGE. */
const [mapRead, storage] = [0x1, 0x80]

/** The sizes of buffers mapped for reading, and of writes to buffers that kernels read as data. */
function watchTransfers() {
  const mapAsync = vi.spyOn(GPUBuffer.prototype, 'mapAsync')
  const writeBuffer = vi.spyOn(GPUQueue.prototype, 'writeBuffer')
  const createBuffer = vi.spyOn(GPUDevice.prototype, 'createBuffer')
  return () => {
    const read = mapAsync.mock.calls.map(([mode], index) => {
      expect(mode).toBe(mapRead)
      const buffer: unknown = mapAsync.mock.contexts[index]
      return buffer instanceof GPUBuffer ? buffer.size : Number.NaN
    })
    const written = writeBuffer.mock.calls
      .filter(([buffer]) => (buffer.usage & storage) !== 0)
      .map(([, , data, , size]) => size ?? data.byteLength)
    const mapped = createBuffer.mock.calls.filter(([{ mappedAtCreation }]) => mappedAtCreation === true)
    for (const mock of [mapAsync, writeBuffer, createBuffer]) mock.mockClear()
    return { read, uploaded: [...written, ...mapped.map(([{ size }]) => size)] }
  }
}

/** Bytes of this many float32 values. */
const bytes = (...dims: number[]) => dims.reduce((count, dim) => count * dim, 4)
/** The bytes of a CLIP encoder's inputs for one prompt: `inputs_embeds` and `pooling`. */
const clip = (width: number) => [bytes(77, width), bytes(77)]
const images = 2
/** Both halves of guidance. */
const batch = 2 * images

interface Crossing {
  readonly name: keyof typeof repositories
  readonly size: { readonly width: number; readonly height: number }
  readonly latents: number
  /** Bytes that are uploaded for each of the two prompts: the text encoders' inputs. */
  readonly prompt: readonly number[]
  /** Bytes that are uploaded for the denoiser's inputs that stay from step to step. */
  readonly condition: readonly number[]
  readonly step: number
  /** Bytes that are uploaded to scale the latents of each decoded part of an image. */
  readonly scaling: readonly number[]
  /** Image pixels per latent pixel, along each axis. */
  readonly factor: number
  /** The rows and columns, in latent pixels, of the parts in which an image is decoded. */
  readonly parts: readonly (readonly [number, number])[]
}

const crossings: readonly Crossing[] = [
  {
    name: 'tiny-sd15',
    // Wider than the autoencoder's tile.
    size: { width: 96, height: 64 },
    latents: bytes(images, 4, 16, 24),
    prompt: clip(32),
    condition: [],
    step: bytes(batch, 16),
    scaling: [],
    factor: 4,
    parts: [
      [16, 16],
      [16, 12],
      [4, 16],
      [4, 12],
    ],
  },
  {
    name: 'tiny-sdxl',
    size: { width: 64, height: 64 },
    latents: bytes(images, 4, 8, 8),
    prompt: [...clip(32), ...clip(48)],
    // SDXL's time ids.
    condition: [bytes(batch, 48)],
    step: bytes(batch, 16),
    scaling: [],
    factor: 8,
    parts: [[8, 8]],
  },
  {
    name: 'tiny-sd3',
    size: { width: 32, height: 32 },
    latents: bytes(images, 16, 8, 8),
    prompt: [...clip(24), ...clip(32), bytes(24, 64)],
    // The position embeddings of SD3's patches.
    condition: [bytes(16, 32)],
    step: bytes(batch, 256),
    // Adding a shift to the latents needs a tensor with the single value 1.
    scaling: [bytes(1)],
    factor: 4,
    parts: [[8, 8]],
  },
]

const repeated = <T>(count: number, list: readonly T[]) => Array.from({ length: count }, () => list).flat()
const ascending = (sizes: readonly number[]) => sizes.toSorted((a, b) => a - b)

test.each(crossings)(
  '$name: the host reads back only the picture and the counters, and uploads no tensor that the GPU already has',
  async (crossing) => {
    const { name, size, latents, prompt, condition, step, scaling, factor, parts } = crossing
    const transfers = watchTransfers()
    const vaeTiling = name === 'tiny-sd15'
    pipeline = await loadPipeline(repositories[name], { device: 'webgpu', offload: 'resident', vaeTiling })
    const { item } = await fetchCase(name)
    const steps = 2
    const scheduler = { className: name === 'tiny-sd3' ? 'FlowMatchEulerDiscreteScheduler' : 'DDIMScheduler' }
    const options = { ...caseOptions(item, ''), ...size, scheduler, numInferenceSteps: steps, numImagesPerPrompt: images }
    const live: number[] = []
    const generate = async () => {
      let last = 0
      const onProgress = (progress: PipelineProgress) => {
        if (progress.type === 'memory') last = progress.memory.live
      }
      const { images: made } = await pipeline!.generate(item.prompt, { ...options, onProgress })
      live.push(last)
      return made
    }
    const first = await generate()
    // Forget the transfers of the first generation, which loaded the weights and compiled the kernels.
    transfers()
    // On a software GPU, steps take so long that checkpoints would read tensors back. With a clock that does not move, no checkpoint is
    // due.
    vi.spyOn(performance, 'now').mockReturnValue(0)
    expect(await generate()).toEqual(first)
    const { read, uploaded } = transfers()
    const pictures = repeated(
      images,
      parts.map(([rows, columns]) => bytes(3, factor * rows, factor * columns)),
    )
    const counters = 8
    expect(ascending(read)).toEqual(ascending([...repeated(steps + 1, [counters]), ...pictures]))
    const inputs = [...repeated(2, prompt), ...condition, latents, ...repeated(steps, [step])]
    expect(ascending(uploaded)).toEqual(ascending([...inputs, ...repeated(images * parts.length, scaling)]))
    // Counters and uniforms may be kept for reuse, but nothing as large as latents is left.
    expect(Math.abs(live[1]! - live[0]!)).toBeLessThan(Math.min(latents, 1024))
  },
)
