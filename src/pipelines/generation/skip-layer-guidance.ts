/** Skip-layer guidance, as Stable Diffusion 3.5 uses it: steers away from the prediction that the denoiser makes without some of its blocks. */

import { InputError } from '../../errors.js'
import type { Device } from '../../runtime/device.js'
import type { GenerateOptions } from '../types.js'
import type { RefineCall } from './pipeline-family.js'
import type { Condition } from '../prompts/prompt-embeds.js'
import { runDenoiser, type Correction, type Refinement } from './predictor.js'
import type { Keep } from '../tensors.js'

/** The further correction that `skipGuidanceLayers` asks for, in some of the steps; null where the option names no blocks. */
export function skipLayerGuidance({ denoiser, condition, options, host, recorder, run, keep }: RefineCall) {
  const { skipGuidanceLayers: layers = [], skipLayerGuidanceScale: scale = 2.8 } = options
  const { skipLayerGuidanceStart: start = 0.01, skipLayerGuidanceStop: stop = 0.2 } = options
  if (layers.length === 0) return null
  let text: Condition | undefined
  return async ({ index, total, timestep, sample }: Refinement): Promise<Correction | null> => {
    if (index <= total * start || index >= total * stop) return null
    text ??= textHalves(host.device, condition, denoiser.model.promptInputs, denoiser.name, keep)
    const inputs = { ...condition, ...text }
    const without = await runDenoiser(denoiser, inputs, sample, timestep, host, run, { skipLayers: layers })
    await recorder.read('noise_pred', without, index, 'noise_pred_skip_layers')
    return { without, scale }
  }
}

/** Copies the positive prompts' half of each input in `promptInputs`. The first half is the negative prompts'. */
function textHalves(device: Device, both: Condition, promptInputs: readonly string[], owner: string, keep: Keep): Condition {
  const halves = Object.entries(both)
    .filter(([name]) => promptInputs.includes(name))
    .map(([name, tensor]) => {
      const [batch = 0, ...row] = tensor.dims
      const origin = row.map(() => 0)
      const piece = { tensor, at: [0, ...origin], from: [batch / 2, ...origin] }
      return [name, keep(device.assemble([piece], [batch / 2, ...row], owner))] as const
    })
  return Object.fromEntries(halves)
}

/** @throws InputError `skip-layers` unless the blocks are whole numbers below `skippable`, and the other options are numbers in range */
export function checkSkipLayers(options: GenerateOptions, skippable: number): void {
  const skipped = options.skipGuidanceLayers ?? []
  if (!Array.isArray(skipped) || !skipped.every((layer) => Number.isInteger(layer) && layer >= 0 && layer < skippable))
    throw new InputError(
      'skip-layers',
      `skipGuidanceLayers is ${JSON.stringify(skipped)}; allowed are blocks from 0 to ${skippable - 1}.`,
      { skipGuidanceLayers: JSON.stringify(skipped), allowed: skippable - 1 },
    )
  for (const key of ['skipLayerGuidanceScale', 'skipLayerGuidanceStart', 'skipLayerGuidanceStop'] as const) {
    const value = options[key]
    if (value !== undefined && !(Number.isFinite(value) && Math.abs(value) <= 1000))
      throw new InputError('skip-layers', `${key} is ${value}; allowed are numbers from -1000 to 1000.`, { [key]: value })
  }
}
