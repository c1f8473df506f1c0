/**
 * The settings of a prompt box and their formats: text in a PNG (`parameters`, which other programs read, and `aquatint`, which is exact),
 * the query of a link, and options of `generate`. Pure. Text from untrusted files and links is validated.
 */

import type { GenerateCallOptions, PromptWeighting, WeightsDType } from '../../index.js'
import { lorasFromQuery, lorasFromUnknown, lorasInPrompt, lorasToQuery, type LoraSetting } from './lora-settings.js'
import { readParameters } from './picture-parameters.js'
import {
  asChoice,
  asTimesteps,
  choiceLabel,
  choiceNames,
  schedulerChoices,
  schedulerNames,
  toSchedulerOption,
} from './scheduler-settings.js'

/** All settings of a prompt box. An absent number means the default of the model. */
export interface PromptSettings {
  /** A repository id, an absolute URL, or a path that starts with `./`. */
  readonly model: string
  /** The type that weights are stored in on the device, as in `fromPretrained`. Absent: as published, if the device supports it. */
  readonly dtype?: WeightsDType | undefined
  /**
   * The decoder of previews: `auto` for the decoder of the model's family, or a repository with an `AutoencoderTiny`. Absent: rough
   * previews.
   */
  readonly previewDecoder?: string | undefined
  /** The commit that a picture was generated with. For information only; `loadOptions.revision` selects what is loaded. */
  readonly revision?: string | undefined
  /** Describes the picture. */
  readonly prompt: string
  /** Describes what should not be in the picture. */
  readonly negativePrompt?: string | undefined
  /** In pixels, a multiple of 8 (of 16 for some models) up to 8192. */
  readonly width?: number | undefined
  /** As `width`. */
  readonly height?: number | undefined
  /** Denoising steps, 1 to 10,000. */
  readonly numInferenceSteps?: number | undefined
  /** The weight of the prompt relative to the negative prompt, -10,000 to 10,000. */
  readonly guidanceScale?: number | undefined
  /** Guidance by the negative prompt, 1 (none) to 10,000. For FLUX.1, where `guidanceScale` has another meaning. */
  readonly trueCfgScale?: number | undefined
  /** A whole number from 0 to 2^53 - 1; if absent, each run uses a new random seed. */
  readonly seed?: number | undefined
  /** A diffusers class, such as `EulerDiscreteScheduler`. */
  readonly scheduler?: string | undefined
  /** The scheduler's `timestep_spacing`. If this or one of the next three settings is absent, the model's config decides. */
  readonly timestepSpacing?: 'leading' | 'linspace' | 'trailing' | undefined
  /** Which of `use_karras_sigmas`, `use_exponential_sigmas` and `use_beta_sigmas` is true. */
  readonly sigmaSchedule?: 'karras' | 'exponential' | 'beta' | undefined
  /** The `algorithm_type` of the DPM-Solver classes. */
  readonly algorithm?: 'dpmsolver++' | 'sde-dpmsolver++' | undefined
  /** The `prediction_type`; `v-zero-snr` also sets `rescale_betas_zero_snr`. */
  readonly prediction?: 'epsilon' | 'v_prediction' | 'v-zero-snr' | 'sample' | undefined
  /** How much noise DDIM and TCD add in each step, 0 to 1. */
  readonly eta?: number | undefined
  /** The timesteps of the run, instead of a number of steps. */
  readonly timesteps?: readonly number[] | undefined
  /** Pictures per run, 1 to 64. */
  readonly numImagesPerPrompt?: number | undefined
  /** With a start picture: how much of it is redrawn, 0.05 to 1 (less would leave no step of 20). */
  readonly strength?: number | undefined
  /** The number of CLIP's last layers to leave out, 0 to 31: one less than AUTOMATIC1111's "Clip skip". Stable Diffusion 1 to 3.5. */
  readonly clipSkip?: number | undefined
  /** How weights are written in prompts, as in `generate`. Absent: prompts are plain text. Stable Diffusion 1 to 3.5. */
  readonly promptWeighting?: PromptWeighting | undefined
  /** The LoRAs. */
  readonly loras?: readonly LoraSetting[] | undefined
}

interface NumberRule {
  /** The setting's label, next to the field and in messages. */
  readonly label: string
  /** The setting's name in a link; also the name of its attribute. */
  readonly query: string
  readonly min: number
  readonly max: number
  /** The value must be a multiple of this. */
  readonly step?: number
}

/**
 * The numbers of a prompt box and their allowed values: those of `generate`, except for a strength below 0.05, which would leave no step of
 * the usual 20.
 */
export const numberRules = {
  width: { label: 'Width', query: 'width', min: 8, max: 8192, step: 8 },
  height: { label: 'Height', query: 'height', min: 8, max: 8192, step: 8 },
  numInferenceSteps: { label: 'Steps', query: 'steps', min: 1, max: 10_000, step: 1 },
  guidanceScale: { label: 'Guidance', query: 'guidance', min: -10_000, max: 10_000 },
  trueCfgScale: { label: 'True CFG', query: 'true-cfg', min: 1, max: 10_000 },
  seed: { label: 'Seed', query: 'seed', min: 0, max: Number.MAX_SAFE_INTEGER, step: 1 },
  numImagesPerPrompt: { label: 'Pictures', query: 'count', min: 1, max: 64, step: 1 },
  strength: { label: 'Strength', query: 'strength', min: 0.05, max: 1 },
  clipSkip: { label: 'CLIP skip', query: 'clip-skip', min: 0, max: 31, step: 1 },
  eta: { label: 'Noise per step (eta)', query: 'eta', min: 0, max: 1 },
} as const satisfies Record<string, NumberRule>

/** The name of one of the prompt box's number fields: a key of {@link numberRules}. */
export type NumberName = keyof typeof numberRules

/** The names of the numbers, in display order. */
export const numberNames = Object.keys(numberRules) as NumberName[]

/** The settings that clear every field except the model. */
export const emptySettings: Partial<PromptSettings> = {
  dtype: undefined,
  previewDecoder: undefined,
  prompt: '',
  negativePrompt: undefined,
  scheduler: undefined,
  timesteps: undefined,
  promptWeighting: undefined,
  loras: undefined,
  ...Object.fromEntries([...numberNames, ...choiceNames].map((name) => [name, undefined])),
}

/** The types of weights to choose from, and their labels. */
export const dtypeNames: Readonly<Record<WeightsDType, string>> = {
  float32: 'float32',
  float16: 'float16',
  q8: 'q8 (8 bits)',
  q4: 'q4 (4 bits)',
}

/** The syntaxes for weights in prompts, and their labels. */
export const weightingNames: Readonly<Record<PromptWeighting, string>> = {
  a1111: '(word:1.3)',
  compel: 'word++',
}

/** The value, if it names a syntax for weights in prompts; otherwise undefined. */
export function asWeighting(word: unknown): PromptWeighting | undefined {
  return typeof word === 'string' && Object.hasOwn(weightingNames, word) ? (word as PromptWeighting) : undefined
}

/** The value, if it names a type of weights; otherwise undefined. */
export function asDType(word: unknown): WeightsDType | undefined {
  return typeof word === 'string' && Object.hasOwn(dtypeNames, word) ? (word as WeightsDType) : undefined
}

/** The longest text that is accepted from a link or a file, in characters. */
const maxText = 20_000

/** Parses the text of a field. Empty text gives undefined; an invalid value gives an error message. */
export function parseNumber(name: NumberName, text: string): { value: number | undefined } | { error: string } {
  const { label, min, max, step = 0 }: NumberRule = numberRules[name]
  const trimmed = text.trim()
  if (trimmed === '') return { value: undefined }
  const value = Number(trimmed)
  if (!Number.isFinite(value) || value < min || value > max) {
    return { error: `${label} must be a number from ${min} to ${max === Number.MAX_SAFE_INTEGER ? '2⁵³ − 1' : max}.` }
  }
  if (step > 0 && value % step !== 0) {
    const below = Math.floor(value / step) * step
    const near = [below, below + step].filter((each) => each >= min && each <= max).join(' or ')
    return {
      error: step === 1 ? `${label} must be a whole number.` : `${label} must be a multiple of ${step}, such as ${near}.`,
    }
  }
  return { value }
}

/** Converts settings to options of `generate`. `ownScheduler`: the class of the model's scheduler. */
export function toGenerateOptions(settings: PromptSettings, ownScheduler: string): GenerateCallOptions {
  const { model: _model, revision: _revision, dtype: _dtype, previewDecoder: _decoder, loras: _loras, ...generation } = settings
  const { prompt: _prompt, scheduler: _scheduler, ...others } = generation
  const { timestepSpacing: _spacing, sigmaSchedule: _sigmas, algorithm: _algorithm, prediction: _prediction, ...options } = others
  const scheduler = toSchedulerOption(settings, ownScheduler)
  return { ...options, ...(scheduler === undefined ? {} : { scheduler }) }
}

/** Converts settings to the query of a link, without settings that are not set. */
export function toQuery(settings: PromptSettings): URLSearchParams {
  const query = new URLSearchParams()
  const set = (name: string, value: string | number | undefined) => {
    if (value !== undefined && value !== '') query.set(name, String(value))
  }
  set('model', settings.model)
  set('revision', settings.revision)
  set('dtype', settings.dtype)
  set('preview-decoder', settings.previewDecoder)
  set('prompt', settings.prompt)
  set('negative', settings.negativePrompt)
  for (const name of numberNames) set(numberRules[name].query, settings[name])
  set('scheduler', settings.scheduler)
  for (const name of choiceNames) set(schedulerChoices[name].query, settings[name])
  set('timesteps', settings.timesteps?.join())
  set('prompt-weighting', settings.promptWeighting)
  for (const lora of lorasToQuery(settings.loras)) query.append('lora', lora)
  return query
}

/** Reads settings from the query of a link; leaves out invalid values, because links are untrusted. */
export function fromQuery(query: URLSearchParams): Partial<PromptSettings> {
  const found: Record<string, unknown> = {
    model: query.get('model'),
    revision: query.get('revision'),
    dtype: query.get('dtype'),
    previewDecoder: query.get('preview-decoder'),
    prompt: query.get('prompt'),
    negativePrompt: query.get('negative'),
    scheduler: query.get('scheduler'),
    timesteps: query.get('timesteps'),
    promptWeighting: query.get('prompt-weighting'),
    loras: lorasFromQuery(query.getAll('lora')),
  }
  for (const name of numberNames) found[name] = query.get(numberRules[name].query)
  for (const name of choiceNames) found[name] = query.get(schedulerChoices[name].query)
  return settingsFromUnknown(found)
}

/** Converts settings to text chunks of a PNG. */
export function toPngText(settings: PromptSettings): Record<string, string> {
  const { prompt, negativePrompt, numInferenceSteps, scheduler, guidanceScale, seed, width, height, strength, clipSkip, model } =
    settings
  const { sigmaSchedule, eta } = settings
  const facts = [
    numInferenceSteps === undefined ? '' : `Steps: ${numInferenceSteps}`,
    scheduler === undefined ? '' : `Sampler: ${schedulerNames[scheduler] ?? scheduler}`,
    sigmaSchedule === undefined ? '' : `Schedule type: ${choiceLabel('sigmaSchedule', sigmaSchedule)}`,
    guidanceScale === undefined ? '' : `CFG scale: ${guidanceScale}`,
    settings.trueCfgScale === undefined ? '' : `True CFG scale: ${settings.trueCfgScale}`,
    seed === undefined ? '' : `Seed: ${seed}`,
    width === undefined || height === undefined ? '' : `Size: ${width}x${height}`,
    strength === undefined ? '' : `Denoising strength: ${strength}`,
    clipSkip === undefined ? '' : `Clip skip: ${clipSkip + 1}`,
    eta === undefined ? '' : `Eta: ${eta}`,
    `Model: ${model}`,
  ]
  const negative = negativePrompt === undefined || negativePrompt === '' ? [] : [`Negative prompt: ${negativePrompt}`]
  return {
    parameters: [prompt + lorasInPrompt(settings.loras), ...negative, facts.filter((fact) => fact !== '').join(', ')].join('\n'),
    aquatint: JSON.stringify(settings),
  }
}

/** Reads settings from the text chunks of a PNG of Aquatint, or of AUTOMATIC1111's web UI; undefined if there are none. */
export function fromPngText(text: Readonly<Record<string, string>>): Partial<PromptSettings> | undefined {
  const own = text['aquatint']
  if (own === undefined) {
    const parameters = readParameters(text['parameters'] ?? '')
    return parameters === undefined ? undefined : settingsFromUnknown(parameters)
  }
  try {
    const parsed: unknown = JSON.parse(own)
    return typeof parsed === 'object' && parsed !== null ? settingsFromUnknown(parsed as Record<string, unknown>) : undefined
  } catch {
    return undefined
  }
}

/** Takes from an untrusted object the settings that have a valid type and range. */
export function settingsFromUnknown(found: Readonly<Record<string, unknown>>): Partial<PromptSettings> {
  const settings: Record<string, string | number | readonly number[]> = {}
  const dtype = asDType(found['dtype'])
  if (dtype !== undefined) settings['dtype'] = dtype
  const weighting = asWeighting(found['promptWeighting'])
  if (weighting !== undefined) settings['promptWeighting'] = weighting
  for (const name of ['model', 'revision', 'prompt', 'negativePrompt', 'scheduler', 'previewDecoder']) {
    const value = found[name]
    if (typeof value === 'string' && value !== '' && value.length <= maxText) settings[name] = value
  }
  const { scheduler } = settings
  if (typeof scheduler === 'string' && !Object.hasOwn(schedulerNames, scheduler)) delete settings['scheduler']
  for (const name of choiceNames) {
    const choice = asChoice(name, found[name])
    if (choice !== undefined) settings[name] = choice
  }
  const timesteps = asTimesteps(found['timesteps'])
  if (timesteps !== undefined) settings['timesteps'] = timesteps
  for (const name of numberNames) {
    const value = found[name]
    if (typeof value !== 'string' && typeof value !== 'number') continue
    const parsed = parseNumber(name, String(value))
    if ('value' in parsed && parsed.value !== undefined) settings[name] = parsed.value
  }
  const loras = lorasFromUnknown(found['loras'])
  return loras === undefined ? settings : { ...settings, loras }
}
