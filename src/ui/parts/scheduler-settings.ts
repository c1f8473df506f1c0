/** The settings of a prompt box that are about the scheduler: its class, and the values of its config that the form offers. Pure. */

import type { GenerateCallOptions } from '../../index.js'

/** The schedulers to choose from: every class of the library, and its label. */
export const schedulerNames: Readonly<Record<string, string>> = {
  EulerDiscreteScheduler: 'Euler',
  EulerAncestralDiscreteScheduler: 'Euler ancestral',
  DPMSolverMultistepScheduler: 'DPM-Solver++',
  DPMSolverSinglestepScheduler: 'DPM-Solver++ single-step',
  UniPCMultistepScheduler: 'UniPC',
  DEISMultistepScheduler: 'DEIS',
  HeunDiscreteScheduler: 'Heun',
  KDPM2DiscreteScheduler: 'DPM2',
  KDPM2AncestralDiscreteScheduler: 'DPM2 ancestral',
  LMSDiscreteScheduler: 'LMS',
  DDIMScheduler: 'DDIM',
  DDPMScheduler: 'DDPM',
  PNDMScheduler: 'PNDM',
  IPNDMScheduler: 'IPNDM',
  LCMScheduler: 'LCM',
  TCDScheduler: 'TCD',
  EDMEulerScheduler: 'EDM Euler',
  EDMDPMSolverMultistepScheduler: 'EDM DPM-Solver++',
  FlowMatchEulerDiscreteScheduler: 'Flow-matching Euler',
}

interface Choice {
  /** The label of the setting's field. */
  readonly label: string
  /** The setting's name in a link; also the name of its attribute. */
  readonly query: string
  /** The values, and their labels. */
  readonly values: Readonly<Record<string, string>>
}

/** Values of the scheduler's config to choose from. */
export const schedulerChoices = {
  timestepSpacing: {
    label: 'Timestep spacing',
    query: 'timestep-spacing',
    values: { leading: 'Leading', linspace: 'Linspace', trailing: 'Trailing' },
  },
  sigmaSchedule: {
    label: 'Noise levels',
    query: 'sigma-schedule',
    values: { karras: 'Karras', exponential: 'Exponential', beta: 'Beta' },
  },
  algorithm: {
    label: 'DPM-Solver',
    query: 'algorithm',
    values: { 'dpmsolver++': 'Without noise', 'sde-dpmsolver++': 'With noise (SDE)' },
  },
  prediction: {
    label: 'The model predicts',
    query: 'prediction',
    values: {
      epsilon: 'Noise (epsilon)',
      v_prediction: 'Velocity (v)',
      'v-zero-snr': 'Velocity, zero SNR',
      sample: 'The picture',
    },
  },
} as const satisfies Record<string, Choice>

/** The name of a choice. */
export type ChoiceName = keyof typeof schedulerChoices

/** The names of the choices, in display order. */
export const choiceNames = Object.keys(schedulerChoices) as ChoiceName[]

/** The values of a choice. */
export type ChoiceValue<Name extends ChoiceName> = keyof (typeof schedulerChoices)[Name]['values'] & string

/** The value, if it is one of the values of a choice; otherwise undefined. */
export function asChoice<Name extends ChoiceName>(name: Name, value: unknown): ChoiceValue<Name> | undefined {
  return typeof value === 'string' && Object.hasOwn(schedulerChoices[name].values, value)
    ? (value as ChoiceValue<Name>)
    : undefined
}

/** The label of a choice's value. */
export function choiceLabel(name: ChoiceName, value: string): string {
  const { values }: Choice = schedulerChoices[name]
  return values[value] ?? value
}

/** The value, if it is a list of timesteps (at most 1000 whole numbers below 100,000); otherwise undefined. */
export function asTimesteps(value: unknown): readonly number[] | undefined {
  const list: unknown = typeof value === 'string' ? value.split(',').map(Number) : value
  if (!Array.isArray(list) || list.length === 0 || list.length > 1000) return undefined
  return list.every((one) => Number.isInteger(one) && (one as number) >= 0 && (one as number) < 100_000)
    ? (list as readonly number[])
    : undefined
}

/** The settings of a scheduler. */
export type SchedulerSettings = { readonly scheduler?: string | undefined } & {
  readonly [Name in ChoiceName]?: ChoiceValue<Name> | undefined
}

/** The config that each choice sets, by diffusers' keys. */
const configs: Readonly<Record<ChoiceName, (value: string) => Readonly<Record<string, unknown>>>> = {
  timestepSpacing: (value) => ({ timestep_spacing: value }),
  // At most one of these three keys may be true. All of them are set, because one may be true in the model's own config.
  sigmaSchedule: (value) =>
    Object.fromEntries(['karras', 'exponential', 'beta'].map((name) => [`use_${name}_sigmas`, name === value])),
  algorithm: (value) => ({ algorithm_type: value }),
  prediction: (value) =>
    value === 'v-zero-snr' ? { prediction_type: 'v_prediction', rescale_betas_zero_snr: true } : { prediction_type: value },
}

/**
 * The option `scheduler` of `generate`; undefined if nothing is chosen: then the model's own scheduler is used.
 * @param own the class of the model's scheduler, for settings that change only its config
 */
export function toSchedulerOption(settings: SchedulerSettings, own: string): GenerateCallOptions['scheduler'] {
  const chosen = choiceNames.map((name) => [name, settings[name]] as const)
  const config = chosen.flatMap(([name, value]) => (value === undefined ? [] : Object.entries(configs[name](value))))
  if (config.length === 0 && settings.scheduler === undefined) return undefined
  const className = settings.scheduler ?? own
  return config.length === 0 ? { className } : { className, config: Object.fromEntries(config) }
}
