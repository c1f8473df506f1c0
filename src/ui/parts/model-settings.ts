/**
 * Settings that published distilled models and LoRAs need to give good pictures. A model or LoRA is recognized by the published name of its
 * repository or file, never by its tensors, because a distilled model has tensors of the same names and shapes as the model that it was
 * distilled from. docs/few-steps.md shows this table.
 */

import type { LoraSetting } from './lora-settings.js'
import { choiceLabel, choiceNames, schedulerNames } from './scheduler-settings.js'
import type { PromptSettings } from './settings.js'

/** The settings that a published model needs. */
export type ModelSettings = Partial<
  Pick<
    PromptSettings,
    | 'width'
    | 'height'
    | 'numInferenceSteps'
    | 'guidanceScale'
    | 'scheduler'
    | 'timestepSpacing'
    | 'prediction'
    | 'eta'
    | 'timesteps'
  >
>

/** A row of the table. */
export interface PublishedSettings {
  /** The name of the model or the LoRA, for people. */
  readonly name: string
  /** The repository that publishes the model. */
  readonly publishedAs: string
  readonly settings: ModelSettings
  /** The recommended weight of a LoRA, if it is not 1. */
  readonly weight?: number
}

interface Row extends Omit<PublishedSettings, 'settings'> {
  /** Repositories that this row is for, in lower case. */
  readonly repositories?: readonly string[]
  /** Matches the name of a file, in lower case and without its extension. The first group, if any, is the number of steps. */
  readonly file?: RegExp
  readonly settings: ModelSettings | ((steps: number) => ModelSettings)
}

const lightning = { name: 'SDXL-Lightning', publishedAs: 'ByteDance/SDXL-Lightning' }
const hyper = { name: 'Hyper-SD', publishedAs: 'ByteDance/Hyper-SD' }
const dmd2 = { name: 'DMD2', publishedAs: 'tianweiy/DMD2' }
const trailing = { timestepSpacing: 'trailing' } as const
const one = { numInferenceSteps: 1, guidanceScale: 0 } as const

const rows: readonly Row[] = [
  { name: 'SD-Turbo', publishedAs: 'stabilityai/sd-turbo', repositories: ['stabilityai/sd-turbo'], settings: one },
  { name: 'SDXL-Turbo', publishedAs: 'stabilityai/sdxl-turbo', repositories: ['stabilityai/sdxl-turbo'], settings: one },
  // The single files of SD-Turbo and SDXL-Turbo would otherwise get the scheduler and the size of the models that they were distilled
  // from.
  {
    name: 'SD-Turbo',
    publishedAs: 'stabilityai/sd-turbo',
    file: /^sd_turbo$/,
    settings: {
      ...one,
      ...trailing,
      scheduler: 'EulerDiscreteScheduler',
      prediction: 'epsilon',
      width: 512,
      height: 512,
    },
  },
  {
    name: 'SDXL-Turbo',
    publishedAs: 'stabilityai/sdxl-turbo',
    file: /^sd_xl_turbo_1\.0(?:_fp16)?$/,
    settings: { ...one, ...trailing, scheduler: 'EulerAncestralDiscreteScheduler', width: 512, height: 512 },
  },
  {
    name: 'Stable Diffusion 3.5 large turbo',
    publishedAs: 'stabilityai/stable-diffusion-3.5-large-turbo',
    repositories: ['stabilityai/stable-diffusion-3.5-large-turbo'],
    file: /^sd3\.5_large_turbo$/,
    settings: { numInferenceSteps: 4, guidanceScale: 0 },
  },
  {
    name: 'LCM Dreamshaper',
    publishedAs: 'SimianLuo/LCM_Dreamshaper_v7',
    repositories: ['simianluo/lcm_dreamshaper_v7'],
    settings: { numInferenceSteps: 4, guidanceScale: 8 },
  },
  {
    name: 'LCM-LoRA',
    publishedAs: 'latent-consistency/lcm-lora-sdxl',
    repositories: ['sdv1-5', 'sdxl', 'ssd-1b'].map((base) => `latent-consistency/lcm-lora-${base}`),
    file: /^lcm[-_]lora[-_](?:sdv1-5|sdxl|ssd-1b)$/,
    settings: { numInferenceSteps: 4, guidanceScale: 1, scheduler: 'LCMScheduler' },
  },
  {
    ...lightning,
    file: /^sdxl_lightning_1step(?:_unet)?_x0$/,
    settings: { ...one, ...trailing, scheduler: 'EulerDiscreteScheduler', prediction: 'sample' },
  },
  {
    ...lightning,
    file: /^sdxl_lightning_([248])step(?:_unet|_lora)?$/,
    settings: (steps) => ({ ...trailing, numInferenceSteps: steps, guidanceScale: 0, scheduler: 'EulerDiscreteScheduler' }),
  },
  { ...hyper, file: /^hyper-sdxl-1step-unet$/, settings: { ...one, scheduler: 'LCMScheduler', timesteps: [800] } },
  { ...hyper, file: /^hyper-sd(?:xl|15)-1step-lora$/, settings: { ...one, scheduler: 'TCDScheduler', eta: 1 } },
  {
    ...hyper,
    file: /^hyper-sd(?:xl|15)-([248])steps-lora$/,
    settings: (steps) => ({ ...trailing, numInferenceSteps: steps, guidanceScale: 0, scheduler: 'DDIMScheduler' }),
  },
  {
    ...hyper,
    file: /^hyper-sd(?:xl|15)-(8|12)steps-cfg-lora$/,
    settings: (steps) => ({ ...trailing, numInferenceSteps: steps, guidanceScale: 5, scheduler: 'DDIMScheduler' }),
  },
  {
    ...hyper,
    file: /^hyper-sd3-(4|8|16)steps-cfg-lora$/,
    settings: (steps) => ({ numInferenceSteps: steps, guidanceScale: { 4: 3, 8: 5 }[steps] ?? 7 }),
    weight: 0.125,
  },
  {
    ...hyper,
    file: /^hyper-flux\.1-dev-(8|16)steps-lora$/,
    settings: (steps) => ({ numInferenceSteps: steps, guidanceScale: 3.5 }),
    weight: 0.125,
  },
  {
    ...dmd2,
    file: /^dmd2_sdxl_4step_(?:unet|lora)(?:_fp16)?$/,
    settings: { numInferenceSteps: 4, guidanceScale: 0, scheduler: 'LCMScheduler', timesteps: [999, 749, 499, 249] },
  },
  {
    name: 'Playground v2.5',
    publishedAs: 'playgroundai/playground-v2.5-1024px-aesthetic',
    repositories: ['playgroundai/playground-v2.5-1024px-aesthetic'],
    file: /^playground-v2\.5-1024px-aesthetic(?:\.fp16)?$/,
    settings: { guidanceScale: 3 },
  },
  {
    name: 'FLUX.1 schnell',
    publishedAs: 'black-forest-labs/FLUX.1-schnell',
    repositories: ['black-forest-labs/flux.1-schnell'],
    file: /^flux1-schnell$/,
    settings: { numInferenceSteps: 4 },
  },
  {
    name: 'Z-Image-Turbo',
    publishedAs: 'Tongyi-MAI/Z-Image-Turbo',
    repositories: ['tongyi-mai/z-image-turbo'],
    file: /^z_image_turbo(?:_bf16)?$/,
    // The card's first example has 9 steps, for a release of diffusers that omitted the last step.
    settings: { numInferenceSteps: 8, guidanceScale: 0 },
  },
]

/**
 * The row of a model or a LoRA as a user names it: `owner/name` (possibly with a revision), the name of a file, or an address that
 * contains one of these. Undefined for models that the table does not have.
 */
export function publishedSettings(source: string): PublishedSettings | undefined {
  const path = source
    .trim()
    .toLowerCase()
    .replace(/[?#].*$/s, '')
  const [, file = ''] = /(?:^|\/)([^/]+)\.(?:safetensors|gguf)$/.exec(path) ?? []
  for (const { file: pattern, settings, repositories: _, ...row } of rows) {
    const found = pattern?.exec(file)
    if (found) return { ...row, settings: typeof settings === 'function' ? settings(Number(found[1])) : settings }
  }
  const [, repository = ''] = /(?:^|\.(?:co|com)\/)([\w.-]+\/[\w.-]+)(?=$|[@/])/.exec(path) ?? []
  for (const { repositories, settings, file: _, ...row } of rows)
    if (repositories?.includes(repository) === true && typeof settings !== 'function') return { ...row, settings }
  return undefined
}

/** The row for a model together with its LoRAs: the row of a LoRA is used rather than that of the model. LoRAs with weight 0 are ignored. */
export function settingsFor(model: string, loras: readonly LoraSetting[] = []): PublishedSettings | undefined {
  for (const { source, weight } of loras) {
    const found = weight === 0 ? undefined : publishedSettings(source)
    if (found !== undefined) return found
  }
  return publishedSettings(model)
}

/** Says what a row sets, and why. */
export function settingsNote({ name, publishedAs, settings }: PublishedSettings): string {
  const { numInferenceSteps, guidanceScale, scheduler, eta, timesteps, width, height } = settings
  const parts = [
    width === undefined || height === undefined ? '' : `${width} × ${height} pixels`,
    numInferenceSteps === undefined ? '' : numInferenceSteps === 1 ? '1 step' : `${numInferenceSteps} steps`,
    timesteps === undefined ? '' : `timesteps ${timesteps.join(', ')}`,
    guidanceScale === undefined ? '' : guidanceScale <= 1 ? 'no guidance' : `guidance ${guidanceScale}`,
    scheduler === undefined ? '' : `scheduler ${schedulerNames[scheduler] ?? scheduler}`,
    ...choiceNames.map((choice) => {
      const value = choice === 'timestepSpacing' || choice === 'prediction' ? settings[choice] : undefined
      return value === undefined ? '' : choiceLabel(choice, value).toLowerCase()
    }),
    eta === undefined ? '' : `eta ${eta}`,
  ].filter((part) => part !== '')
  return `Empty fields use the settings that ${name} was made for: ${parts.join(', ')} (published as ${publishedAs}).`
}
