/** The page of `npm run bench:step`: times both kinds of steps alternately, on a GPU device of its own. */

import { UNet2DConditionModel } from '../../src/models/unets/unet-2d-condition.js'
import type { Config } from '../../src/checkpoint/types.js'
import { ComponentHost } from '../../src/pipelines/execution/component-host.js'
import { float32Tensor } from '../../src/pipelines/tensors.js'
import { denoiserPredictor, type Predictor } from '../../src/pipelines/generation/predictor.js'
import { Run } from '../../src/pipelines/run.js'
import { denoise, guidanceScale, loopOptions, type LoopOptions } from '../../src/pipelines/generation/testing-denoise.js'
import { assertHealthy } from '../../src/runtime/health.js'
import { openDevice } from '../../src/runtime/open-device.js'
import { fixtureComponent } from '../../src/runtime/testing-fixtures.js'
import { StepRunner, type Arithmetic } from '../../src/schedulers/step-runner.js'
import type { Device } from '../../src/runtime/device.js'

/** Milliseconds per step in each round, and bytes read back per step. */
export interface StepTimes {
  readonly name: string
  readonly steps: number
  readonly device: readonly number[]
  readonly host: readonly number[]
  readonly deviceBytes: number
  readonly hostBytes: number
}

let readBack = 0
const { mapAsync } = Object.getOwnPropertyDescriptors(GPUBuffer.prototype)
const map: unknown = mapAsync.value
GPUBuffer.prototype.mapAsync = function (this: GPUBuffer, ...args) {
  readBack += this.size
  return (map as GPUBuffer['mapAsync']).apply(this, args)
}

function optionsFor(predictor: Predictor, dims: readonly number[], steps: number): LoopOptions {
  return loopOptions(predictor, 'DPMSolverMultistepScheduler', { beta_schedule: 'scaled_linear' }, steps, dims)
}

/** A loop with guidance and the scheduler on the host. */
async function onHost({ predictor, scheduler, latents }: LoopOptions): Promise<Float32Array> {
  const { dims, data } = latents
  const [batch = 1, ...rest] = dims
  const arithmetic: Arithmetic<Float32Array> = {
    sum: (parts) => {
      const sums = new Float64Array(data.length)
      for (const { value, scale } of parts)
        for (let i = 0; i < sums.length; i++) sums[i] = (sums[i] ?? 0) + scale * (value[i] ?? 0)
      return Float32Array.from(sums)
    },
    noise: () => new Float32Array(data.length),
    dispose: () => {},
  }
  const runner = new StepRunner(arithmetic)
  let sample: Float32Array = data
  for (const [index, timestep] of scheduler.timesteps.entries()) {
    const scale = scheduler.inputScale(index)
    const input = new Float32Array(2 * data.length)
    for (const half of [0, data.length])
      input.set(
        sample.map((value) => value * scale),
        half,
      )
    const shown = predictor.device.upload(float32Tensor([2 * batch, ...rest], input), predictor.name)
    const tensor = await predictor.predict(shown, timestep)
    const prediction = await tensor.read()
    shown.dispose()
    tensor.dispose()
    assertHealthy(prediction, 'the prediction')
    sample = runner.step(scheduler.plan(index), sample, [
      { value: prediction.subarray(0, data.length), scale: 1 - guidanceScale },
      { value: prediction.subarray(data.length), scale: guidanceScale },
    ])
  }
  return sample
}

/** A network that computes almost nothing, so that the loop itself is timed. */
function emptyNetwork(device: Device): Predictor {
  return {
    name: 'empty',
    device,
    predict: async (sample) => device.combine([{ tensor: sample, scale: 0.5 }], sample.dims, 'empty'),
  }
}

async function tinyUnet(device: Device): Promise<Predictor> {
  const { component, table, inputs } = await fixtureComponent(device, 'unet', 8, 'block')
  await component.dispose()
  const config = (await (await fetch('/fixtures/tiny-sdxl/repo/unet/config.json')).json()) as Config
  const fixed = Object.entries(inputs).filter(([name]) => name !== 'sample' && name !== 'timestep_proj')
  const host = new ComponentHost({ device, dtype: 'float32', offload: 'resident' })
  const condition = Object.fromEntries(fixed.map(([name, tensor]) => [name, device.upload(tensor, 'unet')]))
  const network = { name: 'unet', model: UNet2DConditionModel.fromConfig(config), table, repo: 'tiny-sdxl' }
  return denoiserPredictor({ denoiser: network, condition, host, run: new Run({}), keep: (kept) => kept })
}

async function measure(
  name: string,
  predictor: Predictor,
  dims: readonly number[],
  steps: number,
  rounds: number,
): Promise<StepTimes> {
  const times = { device: [] as number[], host: [] as number[] }
  const bytes = { device: 0, host: 0 }
  const ways = {
    // Both loops end with the latents on the host.
    device: () => denoise(optionsFor(predictor, dims, steps)),
    host: () => onHost(optionsFor(predictor, dims, steps)),
  }
  // Do not count the first round, which compiles the kernels.
  for (let round = 0; round <= rounds; round++) {
    for (const way of ['device', 'host'] as const) {
      readBack = 0
      const started = performance.now()
      await ways[way]()
      if (round > 0) times[way].push((performance.now() - started) / steps)
      bytes[way] = Math.round(readBack / steps)
    }
  }
  return { name, steps, ...times, deviceBytes: bytes.device, hostBytes: bytes.host }
}

/** The networks to time, by name. */
export type Timed = 'none' | 'tiny-sdxl'

async function measureSteps(timed: Timed, rounds: number): Promise<StepTimes> {
  const device = await openDevice({ kind: 'webgpu' })
  return timed === 'none'
    ? measure('none, 4 × 128 × 128', emptyNetwork(device), [1, 4, 128, 128], 20, rounds)
    : measure('tiny-sdxl, 4 × 8 × 8', await tinyUnet(device), [1, 4, 8, 8], 6, rounds)
}

Reflect.set(globalThis, 'measureSteps', measureSteps)
