/**
 * The text `parameters` that AUTOMATIC1111's web UI, and programs that use the same format, write into their pictures: the prompt, a line
 * with the negative prompt, and a line of facts (`Key: value` pairs). Pure; the text is untrusted.
 */

import { lorasFromPrompt, withoutLoras } from './lora-settings.js'
import { schedulerNames } from './scheduler-settings.js'

interface Sampler {
  readonly scheduler: string
  /** DPM-Solver's algorithm. */
  readonly algorithm?: string
  /** The schedule that the web UI's "Automatic" means. */
  readonly automatic?: string
}

/**
 * The web UI's samplers that correspond to a scheduler of diffusers, by the table in diffusers' documentation ("Schedulers", Overview). The
 * web UI computes some samplers in another way, so its picture can differ from Aquatint's.
 */
const samplers: Readonly<Record<string, Sampler>> = {
  'DPM++ 2M': { scheduler: 'DPMSolverMultistepScheduler', automatic: 'Karras' },
  'DPM++ 2M SDE': { scheduler: 'DPMSolverMultistepScheduler', algorithm: 'sde-dpmsolver++', automatic: 'Exponential' },
  'DPM++ SDE': { scheduler: 'DPMSolverSinglestepScheduler', automatic: 'Karras' },
  DPM2: { scheduler: 'KDPM2DiscreteScheduler', automatic: 'Karras' },
  'DPM2 a': { scheduler: 'KDPM2AncestralDiscreteScheduler', automatic: 'Karras' },
  'Euler a': { scheduler: 'EulerAncestralDiscreteScheduler' },
  PLMS: { scheduler: 'PNDMScheduler' },
  // Aquatint's own names of the schedulers. The web UI's other samplers, such as Euler and Heun, have the same names.
  ...Object.fromEntries(Object.entries(schedulerNames).map(([scheduler, label]) => [label, { scheduler }])),
}

/** The settings of diffusers that correspond to the web UI's schedules, by the same table. */
const schedules: Readonly<Record<string, { readonly sigmaSchedule?: string; readonly timestepSpacing?: string }>> = {
  Karras: { sigmaSchedule: 'karras' },
  Exponential: { sigmaSchedule: 'exponential', timestepSpacing: 'linspace' },
  Beta: { sigmaSchedule: 'beta', timestepSpacing: 'linspace' },
  'SGM Uniform': { timestepSpacing: 'trailing' },
  Simple: { timestepSpacing: 'trailing' },
}

/** The settings for a sampler's name. Old versions of the web UI wrote the schedule at the end of the name. */
function samplerSettings(name: string, schedule: string | undefined): Readonly<Record<string, string | undefined>> {
  const [, short = name, atEnd] = /^(.*?)(?: (Karras|Exponential))?$/.exec(name) ?? []
  if (!Object.hasOwn(samplers, short)) return {}
  const { scheduler, algorithm, automatic } = samplers[short] ?? {}
  const type = atEnd ?? (schedule === 'Automatic' ? automatic : schedule) ?? ''
  return { scheduler, algorithm, ...(Object.hasOwn(schedules, type) ? schedules[type] : {}) }
}

const negativeMark = 'Negative prompt:'

/** The settings in a `parameters` text, by their names in the prompt box, unchecked; undefined if the text has no line of facts. */
export function readParameters(text: string): Readonly<Record<string, unknown>> | undefined {
  const lines = text.split('\n')
  const last = lines.findLastIndex((line) => /^Steps: \d/.test(line))
  if (last === -1) return undefined
  const facts = readFacts(lines[last] ?? '')
  const before = lines.slice(0, last).join('\n')
  const at = before.startsWith(negativeMark) ? 0 : before.indexOf(`\n${negativeMark}`)
  const [prompt, negative] = at === -1 ? [before, ''] : [before.slice(0, at), before.slice(at).trim().slice(negativeMark.length)]
  const [, width, height] = /^(\d+)x(\d+)$/.exec(facts.get('Size') ?? '') ?? []
  const found = {
    promptWeighting: 'a1111',
    prompt: withoutLoras(prompt),
    loras: lorasFromPrompt(prompt),
    negativePrompt: negative.trim(),
    numInferenceSteps: facts.get('Steps'),
    guidanceScale: facts.get('CFG scale'),
    seed: facts.get('Seed'),
    width,
    height,
    strength: facts.get('Denoising strength'),
    clipSkip: clipSkip(facts.get('Clip skip')),
    eta: facts.get('Eta'),
    ...samplerSettings(facts.get('Sampler') ?? '', facts.get('Schedule type')),
  }
  return Object.fromEntries(Object.entries(found).filter(([, value]) => value !== undefined))
}

/**
 * The web UI gives the layer that it uses, counted from the end; diffusers gives the number of layers that it leaves out. So the web UI's
 * 1 is diffusers' default.
 */
function clipSkip(fact: string | undefined): string | undefined {
  const layer = Number(fact)
  return layer > 1 ? `${layer - 1}` : undefined
}

/** `Key: value` pairs with commas between them. A value with commas is in quotation marks. */
function readFacts(line: string): ReadonlyMap<string, string> {
  const pairs = line.matchAll(/(?:^|,)\s*([A-Za-z][\w ]*):\s*("(?:[^"\\]|\\.)*"|[^,]*)/g)
  return new Map([...pairs].map(([, key = '', value = '']) => [key, value.trim()]))
}
