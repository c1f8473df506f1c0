/** A denoiser step by step: what does not change from step to step is uploaded once. */

import type { DeviceTensor, HostTensor } from '../runtime/types.js'
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
  readonly sample: PlainTensor
  readonly guided: Float32Array<ArrayBuffer>
  readonly text: Float32Array<ArrayBuffer>
}

/** What the denoising loop needs of a denoiser with one prompt's condition. Dispose it after the last step. */
export interface Predictor {
  /** The prediction for latents [batch, channels, height, width] at a timestep, of the same size. */
  predict(sample: PlainTensor, timestep: number): Promise<Float32Array<ArrayBuffer>>
  /** A further correction of the guided output. */
  refine?(step: Refinement): Promise<Float32Array<ArrayBuffer>>
  dispose(): void
}

/** Inputs that stay, on the device. */
export class FixedInputs {
  readonly #tensors: Record<string, DeviceTensor> = {}

  constructor(inputs: Readonly<Record<string, PlainTensor>>, network: Network, host: ComponentHost) {
    for (const [name, tensor] of Object.entries(inputs))
      this.#tensors[name] = host.hold(hostTensor(tensor.dims, tensor.data), network.name)
  }

  get tensors(): Readonly<Record<string, DeviceTensor>> {
    return this.#tensors
  }

  dispose(): void {
    for (const tensor of Object.values(this.#tensors)) tensor.dispose()
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
  sample: PlainTensor,
  timestep: number,
  host: ComponentHost,
  run: Run,
  variant: GraphVariant = {},
): Promise<Float32Array<ArrayBuffer>> {
  const batch = sample.dims[0] ?? 1
  const projection = how.timestepProjection(Array<number>(batch).fill(timestep))
  const inputs: Record<string, DeviceTensor | HostTensor> = {
    ...fixed.tensors,
    [how.sample]: hostTensor(sample.dims, sample.data),
    timestep_proj: hostTensor([batch, projection.length / batch], projection),
  }
  const outputs = await host.run(network, inputs, ['out_sample'], run, variant)
  return outputs.out_sample
}
