/** The area of a prompt box that shows errors, questions and warnings. */

import { h } from '../parts/dom.js'
import { errorWords } from '../parts/error-words.js'

/** Shows one message at a time; screen readers announce it. */
export class Message {
  readonly element = h('div', { class: 'message', part: 'notice', role: 'alert' })

  #isSettled: () => boolean = () => false

  constructor() {
    this.element.hidden = true
  }

  /** Shows an error, with a button to try again. The message disappears when a field is edited and `isSettled` returns true. */
  showError(error: unknown, retry: () => void, isSettled: () => boolean): void {
    this.#isSettled = isSettled
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

  /** Asks whether to continue. The message disappears when a field is edited and `isSettled` returns true. */
  ask(question: string, details: string, answer: string, act: () => void, isSettled: () => boolean): void {
    this.#isSettled = isSettled
    this.element.className = 'message'
    this.element.replaceChildren(
      h('p', { class: 'message-title' }, question),
      h('p', { class: 'message-text' }, details),
      h('button', { type: 'button', onclick: act }, answer),
    )
    this.element.hidden = false
    this.element.scrollIntoView({ block: 'nearest' })
  }

  /** Removes the message if `isSettled` returns true after an edit. */
  edited(): void {
    if (!this.element.hidden && this.#isSettled()) this.clear()
  }

  /** Shows what loading ignored, assumed or replaced in a checkpoint: a list that is hidden until the user opens its summary. */
  showNotes(notes: readonly { readonly component: string; readonly message: string }[]): void {
    if (notes.length === 0) return
    this.#isSettled = () => false
    this.element.className = 'message warning'
    const items = notes.map(({ component, message }) => h('li', {}, component === '' ? message : `${component}: ${message}`))
    this.element.replaceChildren(
      h('details', {}, h('summary', {}, `Notes on this model: ${notes.length}`), h('ul', {}, ...items)),
    )
    this.element.hidden = false
  }

  /** Shows the warnings of a successful run. */
  showWarnings(warnings: readonly string[]): void {
    if (warnings.length === 0) return
    this.#isSettled = () => false
    this.element.className = 'message warning'
    this.element.replaceChildren(...warnings.map((warning) => h('p', {}, warning)))
    this.element.hidden = false
  }

  clear(): void {
    this.element.hidden = true
    this.element.replaceChildren()
  }
}
