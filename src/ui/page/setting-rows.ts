/** Settings as rows of a name and a value, for people. */

import { numberNames, numberRules, schedulerNames } from '../prompt/settings.js'
import type { PromptSettings } from '../element.js'

/** The rows, without those that are not set. */
export function settingRows(settings: PromptSettings): readonly (readonly [name: string, value: string])[] {
  const rows: (readonly [string, string | undefined])[] = [
    ['Prompt', settings.prompt],
    ['Negative prompt', settings.negativePrompt],
    ['Model', settings.model],
    ['Revision', settings.revision],
    ...numberNames.map((name) => [numberRules[name].label, settings[name]?.toString()] as const),
    ['Scheduler', settings.scheduler === undefined ? undefined : (schedulerNames[settings.scheduler] ?? settings.scheduler)],
  ]
  return rows.filter((row): row is [string, string] => row[1] !== undefined && row[1] !== '')
}
