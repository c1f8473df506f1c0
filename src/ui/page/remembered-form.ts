/**
 * After a reload, or a return with the Back button, restores what the user had typed. The text is stored in `sessionStorage`, which the
 * browser deletes with the tab. Opening a link to the page does not restore the text.
 */

import type { AquatintPrompt, PromptSettings } from '../element.js'
import { settingsFromUnknown } from '../parts/settings.js'

const key = 'aquatint-form'

/**
 * Stores the fields of `box` whenever the page is left.
 * @param navigations the navigation entries of the page, which say how the page was opened
 * @returns the stored settings, if the page was reloaded or reopened with Back or Forward
 */
export function rememberForm(box: AquatintPrompt, navigations: readonly PerformanceEntry[]): Partial<PromptSettings> | undefined {
  window.addEventListener('pagehide', () => {
    store(settingsOf(box))
  })
  const [navigation] = navigations
  const isKept =
    navigation instanceof PerformanceNavigationTiming && (navigation.type === 'reload' || navigation.type === 'back_forward')
  return isKept ? read() : undefined
}

/**
 * The settings, or the prompt alone if a field is invalid. A picked folder is left out, because it cannot be opened again without the
 * user.
 */
function settingsOf(box: AquatintPrompt): Partial<PromptSettings> {
  try {
    const { model, ...settings } = box.settings
    return model.endsWith(' (folder)') ? settings : { ...settings, model }
  } catch {
    return { prompt: box.prompt }
  }
}

function store(settings: Partial<PromptSettings>): void {
  try {
    sessionStorage.setItem(key, JSON.stringify(settings))
  } catch {
    // Storage is blocked or full: the fields are lost.
  }
}

function read(): Partial<PromptSettings> | undefined {
  try {
    const found: unknown = JSON.parse(sessionStorage.getItem(key) ?? 'null')
    return typeof found === 'object' && found !== null ? settingsFromUnknown({ ...found }) : undefined
  } catch {
    return undefined
  }
}
