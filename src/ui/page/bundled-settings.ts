/**
 * While the bundled model is chosen, fills in the settings that its card recommends, because a diffusers repository has no file for them.
 * Pure.
 */

import type { PromptSettings } from '../parts/settings.js'

const recommended = { numInferenceSteps: 10, guidanceScale: 2.5 } as const

/** Changes to `settings` for the chosen model: sets the recommended values in empty fields, and clears them for another model. */
export function bundledSettings(settings: Partial<PromptSettings>, isBundled: boolean): Partial<PromptSettings> {
  const changes: { numInferenceSteps?: number | undefined; guidanceScale?: number | undefined } = {}
  for (const name of ['numInferenceSteps', 'guidanceScale'] as const) {
    if (isBundled && settings[name] === undefined) changes[name] = recommended[name]
    else if (!isBundled && settings[name] === recommended[name]) changes[name] = undefined
  }
  return changes
}
