/** The scheduler of one generation: the repository's own, or another class made from its config. */

import type { Config } from '../../checkpoint/types.js'
import { createScheduler } from '../../schedulers/registry.js'
import type { Scheduler } from '../../schedulers/types.js'
import { isTruthy } from '../../util/truthy.js'
import type { Run } from '../run.js'
import type { PipelineInfo } from '../pipeline-info.js'
import type { GenerateOptions } from '../types.js'

/** A repository's scheduler. `config`: as the pipeline uses it. `baseConfig`: the config from which other scheduler classes are created. */
export interface SchedulerSource {
  readonly className: string
  readonly config: Config
  readonly baseConfig: Config
}

/** The scheduler as the repository has it. */
export function schedulerSource(scheduler: { readonly className: string; readonly config: Config }): SchedulerSource {
  return { ...scheduler, baseConfig: scheduler.config }
}

/**
 * The scheduler with two keys that StableDiffusionPipeline corrects in old configs: `steps_offset` becomes 1 and `clip_sample` false. If
 * the config does not contain such a key, a scheduler that is created from `baseConfig` keeps its own default for the key, as in diffusers.
 */
export function correctedSchedulerSource(scheduler: { readonly className: string; readonly config: Config }): SchedulerSource {
  const { className, config } = scheduler
  const inUse = createScheduler(className, config).scheduler.config
  const own: Record<string, unknown> = { ...config }
  if (typeof inUse['steps_offset'] === 'number' && inUse['steps_offset'] !== 1) own['steps_offset'] = 1
  if (inUse['clip_sample'] === true || config['clip_sample'] === true) own['clip_sample'] = false
  const base = Object.fromEntries(Object.keys(config).map((key) => [key, own[key]]))
  return { className, config: own, baseConfig: base }
}

/** What `PipelineInfo` says about the scheduler. */
export function describeScheduler(source: SchedulerSource): PipelineInfo['scheduler'] {
  const { scheduler } = createScheduler(source.className, source.config)
  return { className: source.className, config: scheduler.config }
}

/**
 * Creates the scheduler of one generation and sets its timesteps.
 * @throws UnsupportedError `unsupported-class`, `unsupported-config`; CheckpointError `invalid-config`; InputError `num-inference-steps`,
 * `set-timesteps`
 */
export function prepareScheduler(
  source: SchedulerSource,
  options: Pick<GenerateOptions, 'scheduler' | 'timesteps' | 'sigmas' | 'numInferenceSteps'>,
  defaults: {
    readonly numInferenceSteps: number
    /** The shift `mu` for a scheduler with `use_dynamic_shifting`. `steps` is undefined if the caller gives only sigmas. */
    readonly mu?: ((config: Config, steps: number | undefined) => number) | undefined
    /** The sigmas for a number of steps where the caller gives no schedule. */
    readonly sigmas?: ((steps: number) => readonly number[]) | undefined
    /** Whether a scheduler with `use_flow_sigmas` uses its own sigmas, whatever the caller gives. */
    readonly ownFlowSigmas?: boolean | undefined
  },
  run: Run,
): Scheduler {
  const { scheduler: reference, timesteps } = options
  const given = reference === undefined ? source.config : { ...source.baseConfig, ...reference.config }
  const { scheduler, unexpectedKeys } = createScheduler(reference?.className ?? source.className, given)
  // `given` comes first, because diffusers' pipelines also read config keys that the scheduler's class does not have.
  const config: Config = { ...given, ...scheduler.config }
  if (reference !== undefined && unexpectedKeys.length > 0)
    run.warn('scheduler-keys', `${reference.className} does not know the config keys ${unexpectedKeys.join(', ')}.`)
  const hasOwnSigmas = defaults.ownFlowSigmas === true && isTruthy(config['use_flow_sigmas'], false)
  if (hasOwnSigmas && options.sigmas !== undefined)
    run.warn(
      'sigmas-unused',
      'sigmas are not used: as in diffusers, this pipeline leaves them to a scheduler with use_flow_sigmas.',
    )
  const sigmas = hasOwnSigmas ? undefined : options.sigmas
  const asked = options.numInferenceSteps ?? defaults.numInferenceSteps
  const counted = options.sigmas === undefined ? asked : options.numInferenceSteps
  const mu = scheduler.config['use_dynamic_shifting'] === true ? defaults.mu?.(config, counted) : undefined
  if (timesteps !== undefined || sigmas !== undefined) scheduler.setTimesteps(null, { timesteps, sigmas, mu })
  else {
    const own = hasOwnSigmas ? undefined : defaults.sigmas?.(asked)
    scheduler.setTimesteps(own === undefined ? asked : null, { sigmas: own, mu })
  }
  warnOfClippedStart(scheduler, run)
  return scheduler
}

/** Warns if an epsilon model starts from pure noise (zero terminal SNR): the predicted original sample is infinite, and is clipped. */
function warnOfClippedStart({ className, config, unusedKeys, timesteps }: Scheduler, run: Run): void {
  const startsWithoutImage =
    config['rescale_betas_zero_snr'] === true && timesteps[0] === Number(config['num_train_timesteps']) - 1
  const isClipped = config['clip_sample'] === true && !unusedKeys.includes('clip_sample')
  if (startsWithoutImage && isClipped && config['prediction_type'] === 'epsilon')
    run.warn(
      'scheduler-clips',
      `${className} starts with an infinite image, clipped as in diffusers: with rescale_betas_zero_snr, the first timestep contains no image, and the model predicts only noise there. Models trained so have prediction_type v_prediction.`,
    )
}
