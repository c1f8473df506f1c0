/** Settings that published distilled models need, by repository: without them their pictures are poor. From the models' cards (docs/few-steps.md). */

import type { PromptSettings } from './settings.js'

/** What a model's card sets. */
export type ModelSettings = Partial<Pick<PromptSettings, 'numInferenceSteps' | 'guidanceScale' | 'scheduler'>>

const cards: Readonly<Record<string, ModelSettings>> = {
  'stabilityai/sd-turbo': { numInferenceSteps: 1, guidanceScale: 0 },
  'stabilityai/sdxl-turbo': { numInferenceSteps: 1, guidanceScale: 0 },
  'stabilityai/stable-diffusion-3.5-large-turbo': { numInferenceSteps: 4, guidanceScale: 0 },
  'simianluo/lcm_dreamshaper_v7': { numInferenceSteps: 4, guidanceScale: 8 },
  'playgroundai/playground-v2.5-1024px-aesthetic': { guidanceScale: 3 },
  'black-forest-labs/flux.1-schnell': { numInferenceSteps: 4 },
  'tongyi-mai/z-image-turbo': { numInferenceSteps: 9, guidanceScale: 0 },
}

/**
 * The settings of a model as a user names it: `owner/name`, with a revision, or by an address that contains these. Empty for models that need none, for all others
 * too.
 */
export function modelSettings(model: string): ModelSettings {
  const [, name = ''] = /(?:^|\.(?:co|com)\/)([\w.-]+\/[\w.-]+)(?=$|[@/?#])/.exec(model.trim().toLowerCase()) ?? []
  return cards[name] ?? {}
}
