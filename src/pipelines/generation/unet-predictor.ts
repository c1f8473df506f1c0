/** A UNet2DConditionModel with one prompt's condition. */

import type { DenoiserModel } from '../../models/types.js'
import type { ComponentHost } from '../execution/component-host.js'
import type { DeviceValues } from '../execution/device-values.js'
import type { Network } from '../bind-network.js'
import { runDenoiser, type Predictor } from './predictor.js'
import type { Run } from '../run.js'

/** `condition`: the inputs that stay, such as `encoder_hidden_states`, by name. */
export function unetPredictor(unet: Network<DenoiserModel>, condition: DeviceValues, host: ComponentHost, run: Run): Predictor {
  return {
    name: unet.name,
    get device() {
      return host.device
    },
    recovering: (work) => host.recovering(unet, run, work, () => condition.get()),
    predict: async (sample, timestep) => runDenoiser(unet, await condition.get(), sample, timestep, host, run),
    release: () => condition.release(),
  }
}
