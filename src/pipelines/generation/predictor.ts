/** A denoiser as the denoising loop calls it: its condition is on its device, and each step adds the latents and the timestep. */

import type { DenoiserModel, GraphVariant } from '../../models/types.js'
import { KeptValues } from '../../runtime/kept-values.js'
import type { DeviceTensor } from '../../runtime/types.js'
import type { ComponentHost, Value } from '../execution/component-host.js'
import { float32Tensor, type Keep } from '../tensors.js'
import type { Network } from '../bind-network.js'
import type { Condition } from '../prompts/prompt-embeds.js'
import type { Run } from '../run.js'
import type { Device } from '../../runtime/device.js'

/** The arguments of `refine` at a step. */
export interface Refinement {
  readonly index: number
  readonly total: number
  readonly timestep: number
  /** The latents, scaled for the network but not duplicated for guidance. */
  readonly sample: DeviceTensor
}

/** A prediction to steer away from: guidance adds `scale · (text − without)`. */
export interface Correction {
  readonly without: DeviceTensor
  readonly scale: number
}

/** What the denoising loop needs of a denoiser with one prompt's condition on its device. */
export interface Predictor {
  /** The network's name: the memory account counts the loop's tensors as this network's. */
  readonly name: string
  readonly device: Device
  /** The prediction for latents [batch, channels, height, width] at a timestep, of the same size. The caller disposes it. */
  predict(sample: DeviceTensor, timestep: number): Promise<DeviceTensor>
  /** A further correction at a step, or none. */
  refine?: ((step: Refinement) => Promise<Correction | null>) | undefined
}

/** Runs a denoiser once. `kept`: values that earlier runs computed from the same condition. */
export async function runDenoiser(
  network: Network<DenoiserModel>,
  condition: Condition,
  sample: DeviceTensor,
  timestep: number,
  host: ComponentHost,
  run: Run,
  variant: GraphVariant = {},
  kept?: KeptValues,
): Promise<DeviceTensor> {
  const batch = sample.dims[0] ?? 1
  const { latents, stepInputs } = network.model
  const stepValues = Object.entries(stepInputs(Array<number>(batch).fill(timestep)))
  const inputs: Record<string, Value> = {
    ...condition,
    [latents.input]: sample,
    ...Object.fromEntries(stepValues.map(([name, { dims, data }]) => [name, float32Tensor(dims, data)])),
  }
  const { out_sample: prediction, ...others } = await host.run(network, inputs, run, variant, kept)
  for (const other of Object.values(others)) other.dispose()
  if (prediction === undefined) throw new Error(`${network.name} has no output out_sample`)
  return prediction
}

/** The parts of a predictor. */
export interface PredictorParts {
  readonly denoiser: Network<DenoiserModel>
  readonly condition: Condition
  readonly host: ComponentHost
  readonly run: Run
  /** Registers values that the denoiser computes from the condition, to be freed when denoising ends. */
  readonly keep: Keep
  readonly refine?: Predictor['refine'] | null
}

/** Predicts with a denoiser on its host's current device. Values that depend on the condition alone are computed in the first step. */
export function denoiserPredictor({ denoiser, condition, host, run, keep, refine }: PredictorParts): Predictor {
  const kept = keep(new KeptValues())
  return {
    name: denoiser.name,
    device: host.device,
    predict: (sample, timestep) => runDenoiser(denoiser, condition, sample, timestep, host, run, {}, kept),
    refine: refine ?? undefined,
  }
}
