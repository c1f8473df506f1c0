/**
 * The list of scheduler classes, and the function that creates a scheduler from a config. The config may have been written for another
 * class.
 */

import { UnsupportedError } from '../errors.js'
import { isTruthy } from '../util/truthy.js'
import { DDIMScheduler } from './alphas/scheduling-ddim.js'
import { DDPMScheduler } from './alphas/scheduling-ddpm.js'
import { DEISMultistepScheduler } from './solvers/scheduling-deis-multistep.js'
import { DPMSolverMultistepScheduler } from './solvers/scheduling-dpmsolver-multistep.js'
import { DPMSolverSinglestepScheduler } from './solvers/scheduling-dpmsolver-singlestep.js'
import { EDMDPMSolverMultistepScheduler } from './solvers/scheduling-edm-dpmsolver-multistep.js'
import { EDMEulerScheduler } from './sigmas/scheduling-edm-euler.js'
import { EulerAncestralDiscreteScheduler } from './sigmas/scheduling-euler-ancestral-discrete.js'
import { EulerDiscreteScheduler } from './sigmas/scheduling-euler-discrete.js'
import { FlowMatchEulerDiscreteScheduler } from './sigmas/scheduling-flow-match-euler-discrete.js'
import { HeunDiscreteScheduler } from './sigmas/scheduling-heun-discrete.js'
import { IPNDMScheduler } from './alphas/scheduling-ipndm.js'
import { KDPM2AncestralDiscreteScheduler } from './sigmas/scheduling-k-dpm-2-ancestral-discrete.js'
import { KDPM2DiscreteScheduler } from './sigmas/scheduling-k-dpm-2-discrete.js'
import { LCMScheduler } from './alphas/scheduling-lcm.js'
import { LMSDiscreteScheduler } from './sigmas/scheduling-lms-discrete.js'
import { PNDMScheduler } from './alphas/scheduling-pndm.js'
import { TCDScheduler } from './alphas/scheduling-tcd.js'
import { UniPCMultistepScheduler } from './solvers/scheduling-unipc-multistep.js'
import type { Scheduler, SchedulerConfig } from './types.js'

/** The static side of a scheduler class. */
interface SchedulerClass {
  readonly className: string
  readonly configKeys: readonly string[]
  new (config: SchedulerConfig): Scheduler
}

const classes: readonly SchedulerClass[] = [
  DDIMScheduler,
  DDPMScheduler,
  DEISMultistepScheduler,
  DPMSolverMultistepScheduler,
  DPMSolverSinglestepScheduler,
  EDMDPMSolverMultistepScheduler,
  EDMEulerScheduler,
  EulerAncestralDiscreteScheduler,
  EulerDiscreteScheduler,
  FlowMatchEulerDiscreteScheduler,
  HeunDiscreteScheduler,
  IPNDMScheduler,
  KDPM2AncestralDiscreteScheduler,
  KDPM2DiscreteScheduler,
  LCMScheduler,
  LMSDiscreteScheduler,
  PNDMScheduler,
  TCDScheduler,
  UniPCMultistepScheduler,
]

/**
 * Config keys of diffusers' schedulers that Aquatint lacks; no other scheduler has these keys. A config can contain them if it was created
 * for such a scheduler.
 */
const otherKeys = [
  's_noise',
  's_churn',
  's_tmin',
  's_tmax',
  'snr_shift_scale',
  'inverse_beta_schedule',
  'noise_sampler_seed',
  'sampling_eps',
  'sampler',
]

const refusals = new Map([
  [
    'DPMSolverSDEScheduler',
    'diffusers draws its noise from a Brownian tree whose seed is not the generator’s, so no seed gives the same image. Use DPMSolverMultistepScheduler with algorithm_type sde-dpmsolver++ instead.',
  ],
])

/** Why Aquatint refuses a scheduler class of diffusers, and what to use instead; undefined for all other classes. */
export function schedulerRefusal(className: string): string | undefined {
  return refusals.get(className)
}

/** The class names that `createScheduler` knows. */
export const schedulerClassNames: readonly string[] = classes.map((entry) => entry.className)

/** A scheduler, and the keys of its config that were ignored. */
export interface CreatedScheduler {
  readonly scheduler: Scheduler
  /**
   * Config keys that no scheduler has. diffusers warns about them and ignores them. {@link Scheduler.unusedKeys} lists the keys that this
   * class has, but whose values have no effect.
   */
  readonly unexpectedKeys: readonly string[]
  /** Config keys that this class lacks and other schedulers have, if the value would have an effect in those schedulers. */
  readonly otherClassKeys: readonly string[]
}

/**
 * diffusers' `SchedulerClass.from_config(config)`: ignores the keys of other schedulers, and uses this class's defaults for missing keys.
 * @throws UnsupportedError `unsupported-class`, `unsupported-config`; CheckpointError `invalid-config`
 */
export function createScheduler(className: string, config: SchedulerConfig): CreatedScheduler {
  const found = classes.find((entry) => entry.className === className)
  if (found === undefined)
    throw new UnsupportedError(
      'unsupported-class',
      `The scheduler ${className} is not supported. ${schedulerRefusal(className) ?? `Supported: ${schedulerClassNames.join(', ')}.`}`,
      { component: 'scheduler', className, supported: schedulerClassNames },
    )
  const known = new Set([...classes.flatMap((entry) => entry.configKeys), ...otherKeys])
  const keys = Object.keys(config).filter((key) => !key.startsWith('_'))
  return {
    scheduler: new found(config),
    unexpectedKeys: keys.filter((key) => !known.has(key)),
    otherClassKeys: keys.filter((key) => !found.configKeys.includes(key) && isMeantForOthers(key, config[key])),
  }
}

/** Keys of PNDM that most published configs contain, even configs of other classes. */
const carriedAlong: ReadonlySet<string> = new Set(['skip_prk_steps', 'steps_offset'])

/**
 * Whether the value differs from the default of every class that has the key. False for values that Python takes for false, and for the
 * keys of PNDM above.
 */
function isMeantForOthers(key: string, value: unknown): boolean {
  if (carriedAlong.has(key) || !isTruthy(value, false)) return false
  const owners = classes.filter((entry) => entry.configKeys.includes(key))
  return owners.length > 0 && owners.every((entry) => JSON.stringify(new entry({}).config[key]) !== JSON.stringify(value))
}
