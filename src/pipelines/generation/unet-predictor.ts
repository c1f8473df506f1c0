/** A UNet2DConditionModel with one prompt's condition. */

import { unetTimestepProjection } from '../../models/unets/unet-2d-condition.js'
import type { ComponentHost } from '../execution/component-host.js'
import type { Network } from '../bind-network.js'
import { runDenoiser, type Condition, type Predictor } from './predictor.js'
import type { Run } from '../run.js'

/** `condition`: the inputs that stay from step to step, such as `encoder_hidden_states`. */
export function unetPredictor(unet: Network, condition: Condition, host: ComponentHost, run: Run): Predictor {
  const how = {
    sample: 'sample',
    timestepProjection: (timesteps: readonly number[]) => unetTimestepProjection(unet.config, timesteps),
  }
  return {
    name: unet.name,
    device: host.device,
    predict: (sample, timestep) => runDenoiser(unet, how, condition, sample, timestep, host, run),
  }
}
