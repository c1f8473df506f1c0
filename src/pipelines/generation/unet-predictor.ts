/** A UNet2DConditionModel with one prompt's condition. */

import type { DenoiserModel } from '../../models/types.js'
import type { ComponentHost } from '../execution/component-host.js'
import type { Network } from '../bind-network.js'
import { runDenoiser, type Condition, type Predictor } from './predictor.js'
import type { Run } from '../run.js'

/** `condition`: the inputs that stay from step to step, such as `encoder_hidden_states`. */
export function unetPredictor(unet: Network<DenoiserModel>, condition: Condition, host: ComponentHost, run: Run): Predictor {
  return {
    name: unet.name,
    device: host.device,
    predict: (sample, timestep) => runDenoiser(unet, condition, sample, timestep, host, run),
  }
}
