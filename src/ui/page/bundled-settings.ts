/** What the bundled model's card recommends, put into the fields while that model is chosen. Its repository has no place to say it. Pure. */

import type { PromptSettings } from '../parts/settings.js'

const recommended = { numInferenceSteps: 10, guidanceScale: 2.5 } as const

/** Changes to `settings` that fit the model: the recommended values where nothing is set, and away again with another model. */
export function bundledSettings(settings: Partial<PromptSettings>, isBundled: boolean): Partial<PromptSettings> {
  const changes: { numInferenceSteps?: number | undefined; guidanceScale?: number | undefined } = {}
  for (const name of ['numInferenceSteps', 'guidanceScale'] as const) {
    if (isBundled && settings[name] === undefined) changes[name] = recommended[name]
    else if (!isBundled && settings[name] === recommended[name]) changes[name] = undefined
  }
  return changes
}
