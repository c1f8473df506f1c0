/** The place in a prompt box where errors and warnings stand. */

import { h } from '../parts/dom.js'
import { errorWords } from '../parts/error-words.js'

/** One notice at a time, said aloud when it comes. */
export class Notice {
  readonly element = h('div', { class: 'notice', part: 'notice', role: 'alert' })

  constructor() {
    this.element.hidden = true
  }

  /** Shows an error, with a button to try again. */
  showError(error: unknown, retry: () => void): void {
    const { title, message, advice } = errorWords(error)
    this.element.className = 'notice error'
    this.element.replaceChildren(
      h('p', { class: 'notice-title' }, title),
      h('p', { class: 'notice-message' }, message),
      h('p', {}, advice),
      h('button', { type: 'button', onclick: retry }, 'Try again'),
    )
    this.element.hidden = false
  }

  /** Shows warnings of a run that went well. */
  showWarnings(warnings: readonly string[]): void {
    if (warnings.length === 0) return
    this.element.className = 'notice warning'
    this.element.replaceChildren(...warnings.map((warning) => h('p', {}, warning)))
    this.element.hidden = false
  }

  clear(): void {
    this.element.hidden = true
    this.element.replaceChildren()
  }
}
