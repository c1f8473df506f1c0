/** A UNet2DConditionModel with one prompt's condition. */

import { unetTimestepProjection } from '../models/unet-2d-condition.js'
import type { ComponentHost } from './component-host.js'
import type { Network } from './networks.js'
import { FixedInputs, runDenoiser, type Predictor } from './predictor.js'
import type { Run } from './run-hooks.js'
import type { PlainTensor } from './types.js'

/** `condition`: the inputs that stay, such as `encoder_hidden_states`, by name. */
export function unetPredictor(
  unet: Network,
  condition: Readonly<Record<string, PlainTensor>>,
  host: ComponentHost,
  run: Run,
): Predictor {
  const fixed = new FixedInputs(condition, unet, host)
  const how = {
    sample: 'sample',
    timestepProjection: (timesteps: readonly number[]) => unetTimestepProjection(unet.config, timesteps),
  }
  return {
    name: unet.name,
    get device() {
      return host.device
    },
    recovering: (work) => host.recovering(unet, run, work),
    predict: (sample, timestep) => runDenoiser(unet, how, fixed, sample, timestep, host, run),
    dispose: () => fixed.dispose(),
  }
}
