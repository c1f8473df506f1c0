/** A denoiser step by step, all on its device: what does not change from step to step is uploaded once. */

import type { Device, DeviceTensor, HostTensor } from '../runtime/types.js'
import { hostTensor, type ComponentHost } from './component-host.js'
import type { GraphVariant, Network } from './networks.js'
import type { Run } from './run-hooks.js'
import type { PlainTensor } from './types.js'

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

/** What the denoising loop needs of a denoiser with one prompt's condition. Dispose it after the last step. */
export interface Predictor {
  /** What its tensors count for in the memory account. */
  readonly name: string
  /** Where it runs now: a lost device is replaced. */
  readonly device: Device
  /** The prediction for latents [batch, channels, height, width] at a timestep, of the same size. Whoever asked disposes it. */
  predict(sample: DeviceTensor, timestep: number): Promise<DeviceTensor>
  /** A further correction at a step, or none. */
  refine?: ((step: Refinement) => Promise<Correction | null>) | undefined
  /** Does `work`, and once more where its device was lost or too small: see {@link ComponentHost.recovering}. */
  recovering<T>(work: () => Promise<T>): Promise<T>
  dispose(): void
}

/** Inputs that stay on the network's device. */
export class FixedInputs {
  readonly #inputs: Readonly<Record<string, PlainTensor>>
  readonly #network: Network
  readonly #host: ComponentHost
  #device: Device | undefined
  #tensors: Readonly<Record<string, DeviceTensor>> = {}

  constructor(inputs: Readonly<Record<string, PlainTensor>>, network: Network, host: ComponentHost) {
    this.#inputs = inputs
    this.#network = network
    this.#host = host
  }

  /** On the device of now: uploaded once, and once more when that device has taken another's place. */
  get tensors(): Readonly<Record<string, DeviceTensor>> {
    const device = this.#host.device
    if (device !== this.#device) {
      this.dispose()
      this.#tensors = Object.fromEntries(
        Object.entries(this.#inputs).map(([name, { dims, data }]) => [
          name,
          device.upload(hostTensor(dims, data), this.#network.name),
        ]),
      )
      this.#device = device
    }
    return this.#tensors
  }

  dispose(): void {
    for (const tensor of Object.values(this.#tensors)) tensor.dispose()
    this.#tensors = {}
    this.#device = undefined
  }
}

/** How a denoiser takes latents and timesteps. */
export interface DenoiserInputs {
  /** Name of the latents' input. */
  readonly sample: string
  /** The input `timestep_proj` for these timesteps, flat [timesteps.length, width]. */
  readonly timestepProjection: (timesteps: readonly number[]) => Float32Array
}

/** Runs a denoiser once. */
export async function runDenoiser(
  network: Network,
  how: DenoiserInputs,
  fixed: FixedInputs,
  sample: DeviceTensor,
  timestep: number,
  host: ComponentHost,
  run: Run,
  variant: GraphVariant = {},
): Promise<DeviceTensor> {
  const batch = sample.dims[0] ?? 1
  const projection = how.timestepProjection(Array<number>(batch).fill(timestep))
  const inputs: Record<string, DeviceTensor | HostTensor> = {
    ...fixed.tensors,
    [how.sample]: sample,
    timestep_proj: hostTensor([batch, projection.length / batch], projection),
  }
  const { out_sample: prediction, ...others } = await host.runOnce(network, inputs, run, variant)
  for (const other of Object.values(others)) other.dispose()
  if (prediction === undefined) throw new Error(`${network.name} has no output out_sample`)
  return prediction
}
