/** The scheduler of one generation, with the pipeline class's defaults for the options that the caller leaves out. */

import type { Scheduler } from '../../schedulers/types.js'
import type { Run } from '../run.js'
import type { GenerateOptions } from '../types.js'
import type { PipelineFamily } from './pipeline-family.js'
import { prepareScheduler, type SchedulerSource } from './schedule.js'

/**
 * Creates the scheduler of a generation and sets its timesteps. `tokens`: the number of the denoiser's tokens for the latents;
 * `numInferenceSteps`: the default.
 * @throws as {@link prepareScheduler}
 */
export function familyScheduler(
  { scheduler: rules = {} }: Pick<PipelineFamily, 'scheduler'>,
  source: SchedulerSource,
  options: Pick<GenerateOptions, 'scheduler' | 'timesteps' | 'sigmas' | 'numInferenceSteps' | 'image'>,
  { tokens, numInferenceSteps }: { readonly tokens: number; readonly numInferenceSteps: number },
  run: Run,
): Scheduler {
  const { shift, sigmas, ownFlowSigmas, setsBeginIndex } = rules
  const defaults = {
    numInferenceSteps,
    mu: shift && ((config, steps) => shift(tokens, config, steps)),
    sigmas,
    ownFlowSigmas: ownFlowSigmas === 'all' || (ownFlowSigmas === 'from-text' && options.image === undefined),
  } satisfies Parameters<typeof prepareScheduler>[2]
  const prepared = prepareScheduler(source, options, defaults, run)
  if (setsBeginIndex === true) prepared.setBeginIndex(0)
  return prepared
}
