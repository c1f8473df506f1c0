/** Formats settings as rows of a name and a value, for people. */

import { choiceLabel, choiceNames, schedulerChoices, schedulerNames } from '../parts/scheduler-settings.js'
import { numberRules, weightingNames, type NumberName } from '../parts/settings.js'
import type { PromptSettings } from '../element.js'
import { modelLabel } from './known-models.js'

const plainNumbers: readonly NumberName[] = [
  'numInferenceSteps',
  'guidanceScale',
  'trueCfgScale',
  'seed',
  'strength',
  'clipSkip',
  'eta',
]

/** The rows of the settings that are set. A revision that is not a commit is left out. */
export function settingRows(settings: PromptSettings): readonly (readonly [name: string, value: string])[] {
  const { width, height, revision = '', scheduler, promptWeighting } = settings
  const rows: (readonly [string, string | undefined])[] = [
    ['Prompt', settings.prompt],
    ['Negative prompt', settings.negativePrompt],
    ['Model', modelLabel(settings.model)],
    ['Commit', /^[0-9a-f]{40}$/.test(revision) ? revision : undefined],
    ['Size', width === undefined || height === undefined ? undefined : `${width} × ${height}`],
    ...plainNumbers.map((name) => [numberRules[name].label, settings[name]?.toString()] as const),
    ['Scheduler', scheduler === undefined ? undefined : (schedulerNames[scheduler] ?? scheduler)],
    ...choiceNames.map((name) => {
      const value = settings[name]
      return [schedulerChoices[name].label, value === undefined ? undefined : choiceLabel(name, value)] as const
    }),
    ['Timesteps', settings.timesteps?.join(', ')],
    ['Prompt weights', promptWeighting === undefined ? undefined : weightingNames[promptWeighting]],
  ]
  return rows.filter((row): row is [string, string] => row[1] !== undefined && row[1] !== '')
}
