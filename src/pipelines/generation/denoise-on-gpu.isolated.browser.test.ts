/**
 * The denoising loop with real networks on a GPU: what a step reads back, uploads and compiles, and how the loop resumes after the device is
 * lost.
 */
import { CLIPTextModel } from '../../models/text-encoders/clip-text-model.js'
import { UNet2DConditionModel } from '../../models/unets/unet-2d-condition.js'
import type { NetworkModel } from '../../models/types.js'
import { afterEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import type { Config } from '../../checkpoint/types.js'
import { openDevice } from '../../runtime/open-device.js'
import { fixtureComponent } from '../../runtime/testing-fixtures.js'
import type { WebGpuDevice } from '../../runtime/webgpu/webgpu-device.js'
import { ComponentHost } from '../execution/component-host.js'
import { failuresOf, Recovery } from '../execution/recovery.js'
import type { Network } from '../bind-network.js'
import type { Condition } from '../prompts/prompt-embeds.js'
import { denoiserPredictor, type Predictor } from './predictor.js'
import { Run } from '../run.js'
import { Checkpoints } from './checkpoints.js'
import { base, count, denoise, factor, loopOptions } from './testing-denoise.js'
import { type Keep } from '../tensors.js'
import type { StepInfo } from '../types.js'
import { Turns } from '../../util/next-turn.js'

/** A network of fixtures/tiny-sdxl on a host of its own, and inputs for it. */
async function hosted<Model extends NetworkModel>(
  name: 'unet' | 'text_encoder',
  definition: { readonly fromConfig: (config: Config) => Model },
) {
  const device = (await openDevice({ kind: 'webgpu' })) as WebGpuDevice
  const { component, table, inputs } = await fixtureComponent(device, name, 8, 'block')
  await component.dispose()
  const config = (await (await fetch(`/fixtures/tiny-sdxl/repo/${name}/config.json`)).json()) as Config
  const network: Network<Model> = { name, model: definition.fromConfig(config), table, repo: 'tiny-sdxl' }
  const fixed = Object.entries(inputs).filter(([input]) => input !== 'sample' && input !== 'timestep_proj')
  const host = new ComponentHost({ device, dtype: 'float32', offload: 'resident' })
  const upload = (): Condition => Object.fromEntries(fixed.map(([input, tensor]) => [input, host.device.upload(tensor, name)]))
  let made: Condition = {}
  const kept: { dispose(): void }[] = []
  const keep: Keep = (tensor) => {
    if (tensor !== undefined && 'dispose' in tensor) kept.push(tensor)
    return tensor
  }
  const release = () => {
    for (const tensor of [...Object.values(made), ...kept]) tensor.dispose()
  }
  /** Uploaded at the first call, and again after the device was replaced. */
  const condition = () => {
    const tensors = Object.values(made)
    if (tensors.length === 0 || !tensors.every((tensor) => host.device.holds(tensor))) made = upload()
    return made
  }
  return { device, network, condition, keep, release, host, run: new Run({}) }
}

/** Counts the calls of all code on this page, including onnxruntime, to any GPU device. */
function watchGpu() {
  const reads = vi.spyOn(GPUBuffer.prototype, 'mapAsync')
  const pipelines = [
    vi.spyOn(GPUDevice.prototype, 'createComputePipeline'),
    vi.spyOn(GPUDevice.prototype, 'createComputePipelineAsync'),
  ]
  return {
    /** Bytes of each buffer that was mapped since the last call of this function. */
    mapped: () => {
      const sizes = reads.mock.contexts.map((buffer: unknown) => (buffer instanceof GPUBuffer ? buffer.size : Number.NaN))
      reads.mockClear()
      return sizes
    },
    compiled: () => pipelines.reduce((sum, { mock }) => sum + mock.calls.length, 0),
  }
}

describe('with a real network on webgpu', () => {
  afterEach(() => vi.restoreAllMocks())

  test('a step reads back only two counters, and a preview the latents once; nothing is compiled after the first step', async () => {
    const { mapped, compiled } = watchGpu()
    const { host, device, network, condition, keep, release, run } = await hosted('unet', UNet2DConditionModel)
    const upload = vi.spyOn(device, 'upload')
    const unet = denoiserPredictor({ denoiser: network, condition: condition(), host, run, keep })
    /** How many kernels and sessions had been created at each call of the predictor. */
    const asked: { readonly pipelines: number; readonly sessions: number }[] = []
    const predictor: Predictor = {
      name: unet.name,
      device,
      predict: async (sample, timestep) => {
        asked.push({ pipelines: compiled(), sessions: device.sessions.counts.created })
        return unet.predict(sample, timestep)
      },
    }
    const steps = 5
    const options = () => loopOptions(predictor, 'DPMSolverMultistepScheduler', base, steps)
    const plain = await denoise(options())
    const [latents, counters] = [count * 4, 8]
    // One read of the counters for each step and for the final latents. The latents themselves are read by this test.
    expect(mapped().toSorted((a, b) => a - b)).toEqual([...Array<number>(steps + 1).fill(counters), latents])
    expect(asked).toHaveLength(steps)
    expect(asked[0]).toMatchObject({ sessions: 0 })
    expect(asked[1]!.sessions).toBeGreaterThan(0)
    // From its second step on, the solver also uses the previous prediction: the sum with it is the only kernel left to compile.
    expect(asked.slice(2).map(({ pipelines }) => pipelines)).toEqual(Array<number>(steps - 2).fill(asked[2]!.pipelines))
    expect(asked[2]!.pipelines - asked[1]!.pipelines).toBeLessThanOrEqual(1)
    expect(asked.slice(2).map(({ sessions }) => sessions)).toEqual(Array<number>(steps - 2).fill(asked[1]!.sessions))
    // The initial latents and the condition, once each.
    expect(upload).toHaveBeenCalledTimes(1 + 2)

    const { pipelines, sessions } = { pipelines: compiled(), sessions: device.sessions.counts.created }
    const previews: StepInfo[] = []
    expect(await denoise({ ...options(), previewEvery: 1, onStep: (step) => previews.push(step) })).toEqual(plain)
    expect(previews.every(({ preview }) => preview !== undefined)).toBe(true)
    expect(mapped().filter((size) => size !== counters)).toEqual(Array<number>(steps + 1).fill(latents))
    expect([compiled(), device.sessions.counts.created]).toEqual([pipelines, sessions])
    release()
    await host.dispose()
    expect(device.memory.snapshot().live).toBe(0)
  })

  test.each([
    ['the last checkpoint', 10_000, 0],
    ['the initial latents where there is no checkpoint', 0, 5],
  ])(
    'after a lost device it resumes from %s, with the same latents and each step reported once',
    async (_, perCall, stepsAgain) => {
      const { host, run, device, network, condition, release } = await hosted('text_encoder', CLIPTextModel)
      const save = vi.spyOn(Checkpoints.prototype, 'save')
      const isSaved = () => {
        const checkpoints: unknown = save.mock.contexts.at(-1)
        return !(checkpoints instanceof Checkpoints) || checkpoints.last.index === save.mock.lastCall?.[0]
      }
      const turns = new Turns()
      onTestFinished(() => turns.close())
      let calls = 0
      let lostAt = Number.POSITIVE_INFINITY
      // Each prediction uses a real network's output, so a new device needs its weights and inputs again.
      const predictor: Predictor = {
        name: network.name,
        get device() {
          return host.device
        },
        predict: async (sample, timestep) => {
          // Each step's checkpoint is on the host before the next step begins.
          if (perCall > 0) while (!isSaved()) await turns.next()
          if (calls++ === lostAt) {
            device.gpu.destroy()
            await device.lost
          }
          const outputs = await host.run(network, condition(), run)
          const terms = [
            { tensor: sample, scale: factor(timestep) },
            { tensor: outputs['hidden_state']!, scale: 0.1 },
          ]
          const prediction = host.device.combine(terms, sample.dims, network.name)
          for (const tensor of Object.values(outputs)) tensor.dispose()
          return prediction
        },
      }
      const steps = 8
      let clock = 0
      const options = () => ({
        ...loopOptions(predictor, 'EulerAncestralDiscreteScheduler', base, steps),
        run,
        now: () => (clock += perCall),
      })
      const recovery = new Recovery()
      const retrying = <T>(work: () => Promise<T>) => recovery.retrying(run, () => failuresOf({ host, network }, work))
      const plain = await denoise(options())
      save.mockClear()
      calls = 0
      lostAt = 5
      const reported: number[] = []
      expect(await denoise({ ...options(), onStep: ({ step }) => reported.push(step) }, retrying)).toEqual(plain)
      expect(reported).toEqual(Array.from({ length: steps }, (_, i) => i))
      // The additional calls are the one that failed and those of the repeated steps.
      expect(calls - steps - 1).toBe(stepsAgain)
      expect(run.warnings).toEqual([expect.stringContaining('opened a new one')])
      release()
      const { memory } = host.device
      await host.dispose()
      expect(memory.snapshot().live).toBe(0)
    },
  )
})
