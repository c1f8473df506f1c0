/** The attributes of `<aquatint-prompt>`: which setting or which load option each one sets. */

import type { DeviceKind, LoadPipelineOptions, OffloadMode } from '../../index.js'
import { lorasFromAttribute } from '../parts/lora-settings.js'
import { asDType, asWeighting, numberNames, numberRules, parseNumber, type PromptSettings } from '../parts/settings.js'
import { asChoice, choiceNames, schedulerChoices, schedulerNames } from '../parts/scheduler-settings.js'

const textAttributes = { prompt: 'prompt', 'negative-prompt': 'negativePrompt', model: 'model' } as const
const loadAttributes = ['revision', 'variant', 'endpoint', 'device', 'offload', 'max-memory'] as const

/** The attributes that set fields. */
export const settingAttributes: readonly string[] = [
  ...Object.keys(textAttributes),
  ...numberNames.map((name) => numberRules[name].query),
  'scheduler',
  ...choiceNames.map((name) => schedulerChoices[name].query),
  'prompt-weighting',
  'dtype',
  'preview-decoder',
  'lora',
]

/** Every observed attribute. */
export const observedAttributes: readonly string[] = [...settingAttributes, ...loadAttributes, 'fixed-model']

/** The setting that an attribute sets. An invalid value clears the setting, so that the default applies. */
export function settingFromAttribute(name: string, value: string | null): Partial<PromptSettings> {
  if (Object.hasOwn(textAttributes, name)) return { [textAttributes[name as keyof typeof textAttributes]]: value ?? '' }
  if (name === 'lora') return { loras: lorasFromAttribute(value ?? '') }
  if (name === 'preview-decoder') return { previewDecoder: value ?? undefined }
  if (name === 'dtype') return { dtype: asDType(value) }
  if (name === 'prompt-weighting') return { promptWeighting: asWeighting(value) }
  if (name === 'scheduler') {
    return { scheduler: value !== null && Object.hasOwn(schedulerNames, value) ? value : undefined }
  }
  const choice = choiceNames.find((candidate) => schedulerChoices[candidate].query === name)
  if (choice !== undefined) return { [choice]: asChoice(choice, value) }
  const number = numberNames.find((candidate) => numberRules[candidate].query === name)
  if (number === undefined) return {}
  const parsed = parseNumber(number, value ?? '')
  return { [number]: 'value' in parsed ? parsed.value : undefined }
}

/** Properties that a page may set before the class of the element is defined. */
const earlyProperties = [
  'prompt',
  'settings',
  'models',
  'loadOptions',
  'model',
  'disabled',
  'name',
  'required',
  'startImage',
  'referenceImages',
] as const

/** Applies the properties that were set on the element before it was upgraded. */
export function takeEarlyProperties(element: HTMLElement): void {
  for (const name of earlyProperties) {
    const value: unknown = Object.getOwnPropertyDescriptor(element, name)?.value
    if (value === undefined) continue
    Reflect.deleteProperty(element, name)
    Reflect.set(element, name, value)
  }
}

/** The load options in the attributes of an element. */
export function loadOptionsFromAttributes(element: Element): LoadPipelineOptions {
  const text = (name: (typeof loadAttributes)[number]) => element.getAttribute(name) ?? undefined
  const options = {
    revision: text('revision'),
    variant: text('variant'),
    endpoint: text('endpoint'),
    device: oneOf<DeviceKind | 'auto'>(text('device'), ['auto', 'webgpu', 'wasm']),
    offload: oneOf<OffloadMode>(text('offload'), ['auto', 'resident', 'model', 'block']),
    maxMemory: text('max-memory'),
  }
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined))
}

function oneOf<T extends string>(value: string | undefined, allowed: readonly T[]): T | undefined {
  return allowed.find((candidate) => candidate === value)
}
