/** The area of a prompt box that shows errors and warnings. */

import { h } from '../parts/dom.js'
import { errorWords } from '../parts/error-words.js'

/** Shows one message at a time; screen readers announce it. */
export class Message {
  readonly element = h('div', { class: 'message', part: 'notice', role: 'alert' })

  constructor() {
    this.element.hidden = true
  }

  /** Shows an error, with a button to try again. */
  showError(error: unknown, retry: () => void): void {
    const { title, message, advice } = errorWords(error)
    this.element.className = 'message error'
    this.element.replaceChildren(
      h('p', { class: 'message-title' }, title),
      h('p', { class: 'message-text' }, message),
      h('p', {}, advice),
      h('button', { type: 'button', onclick: retry }, 'Try again'),
    )
    this.element.hidden = false
  }

  /** Shows the warnings of a successful run. */
  showWarnings(warnings: readonly string[]): void {
    if (warnings.length === 0) return
    this.element.className = 'message warning'
    this.element.replaceChildren(...warnings.map((warning) => h('p', {}, warning)))
    this.element.hidden = false
  }

  clear(): void {
    this.element.hidden = true
    this.element.replaceChildren()
  }
}
