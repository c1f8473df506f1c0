/** A denoiser step by step, all on its device: what does not change from step to step is there once. */

import type { DenoiserModel, GraphVariant } from '../../models/types.js'
import type { DeviceTensor } from '../../runtime/types.js'
import { hostTensor, type ComponentHost, type Value } from '../execution/component-host.js'
import type { Network } from '../bind-network.js'
import type { Run } from '../run.js'
import type { Device } from '../../runtime/device.js'

/** What `refine` is given at a step. */
export interface Refinement {
  readonly index: number
  readonly total: number
  readonly timestep: number
  /** The latents as the network takes them, without the half for guidance. */
  readonly sample: DeviceTensor
}

/** A prediction to steer away from: guidance adds `scale · (text − without)`. */
export interface Correction {
  readonly without: DeviceTensor
  readonly scale: number
}

/** What the denoising loop needs of a denoiser with one prompt's condition. Release it after the last step. */
export interface Predictor {
  /** What its tensors count for in the memory account. */
  readonly name: string
  /** Where it runs now: a lost device is replaced. */
  readonly device: Device
  /** The prediction for latents [batch, channels, height, width] at a timestep, of the same size. Whoever asked disposes it. */
  predict(sample: DeviceTensor, timestep: number): Promise<DeviceTensor>
  /** A further correction at a step, or none. */
  refine?: ((step: Refinement) => Promise<Correction | null>) | undefined
  /** Does `work` with the condition in place, and once more where its device was lost or too small: see {@link ComponentHost.recovering}. */
  recovering<T>(work: () => Promise<T>): Promise<T>
  /** Gives the condition's memory back. It is made again where it is needed again. */
  release(): void
}

/** Runs a denoiser once. `condition`: its inputs that stay, such as `encoder_hidden_states`. */
export async function runDenoiser(
  network: Network<DenoiserModel>,
  condition: Readonly<Record<string, DeviceTensor>>,
  sample: DeviceTensor,
  timestep: number,
  host: ComponentHost,
  run: Run,
  variant: GraphVariant = {},
): Promise<DeviceTensor> {
  const batch = sample.dims[0] ?? 1
  const { latents, stepInputs } = network.model
  const stepValues = Object.entries(stepInputs(Array<number>(batch).fill(timestep)))
  const inputs: Record<string, Value> = {
    ...condition,
    [latents.input]: sample,
    ...Object.fromEntries(stepValues.map(([name, { dims, data }]) => [name, hostTensor(dims, data)])),
  }
  const { out_sample: prediction, ...others } = await host.runOnce(network, inputs, run, variant)
  for (const other of Object.values(others)) other.dispose()
  if (prediction === undefined) throw new Error(`${network.name} has no output out_sample`)
  return prediction
}
