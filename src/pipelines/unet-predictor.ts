/** Runs a UNet2DConditionModel step by step: what does not change from step to step is uploaded once. */

import { unetTimestepProjection } from '../models/unet-2d-condition.js'
import type { DeviceTensor } from '../runtime/types.js'
import { hostTensor, type ComponentHost } from './component-host.js'
import type { Network } from './networks.js'
import type { Run } from './run-hooks.js'
import type { PlainTensor } from './types.js'

/** The UNet with one prompt's condition. Dispose it after the last step. */
export class UnetPredictor {
  readonly #unet: Network
  readonly #host: ComponentHost
  readonly #run: Run
  readonly #fixed: Record<string, DeviceTensor> = {}

  /** `condition`: the inputs that stay, such as `encoder_hidden_states`, by name. */
  constructor(unet: Network, condition: Readonly<Record<string, PlainTensor>>, host: ComponentHost, run: Run) {
    this.#unet = unet
    this.#host = host
    this.#run = run
    for (const [name, tensor] of Object.entries(condition))
      this.#fixed[name] = host.device.upload(hostTensor(tensor.dims, tensor.data), unet.name)
  }

  /** The prediction for latents [batch, channels, height, width] at a timestep, of the same size. */
  async predict(sample: PlainTensor, timestep: number): Promise<Float32Array<ArrayBuffer>> {
    const batch = sample.dims[0] ?? 1
    const projection = unetTimestepProjection(this.#unet.config, Array<number>(batch).fill(timestep))
    const inputs = {
      ...this.#fixed,
      sample: hostTensor(sample.dims, sample.data),
      timestep_proj: hostTensor([batch, projection.length / batch], projection),
    }
    const { out_sample: prediction } = await this.#host.run(this.#unet, inputs, ['out_sample'], this.#run)
    return prediction
  }

  dispose(): void {
    for (const tensor of Object.values(this.#fixed)) tensor.dispose()
  }
}
