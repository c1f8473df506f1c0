/** The list of learned words in the form: embeddings (textual inversion) whose files the user dropped. */

import { h } from '../../parts/dom.js'

/** A learned word, and the file of its embedding. */
export interface ListedWord {
  readonly word: string
  readonly file: File
}

/** What a shelf reports. */
export interface WordListeners {
  readonly onChange: () => void
  /** Called when the user has chosen a word. */
  readonly onWord: (word: string) => void
}

/** The list of words. */
export class WordShelf {
  readonly element = h('ul', { class: 'loras', 'aria-label': 'Learned words' })
  readonly #listeners: WordListeners
  #words: readonly ListedWord[] = []

  constructor(listeners: WordListeners) {
    this.#listeners = listeners
    this.#draw()
  }

  /** The words, in the order in which they were added. */
  get value(): readonly ListedWord[] {
    return this.#words
  }

  /** Adds a word, or replaces its file. */
  add(added: ListedWord): void {
    this.#words = [...this.#words.filter(({ word }) => word !== added.word), added]
    this.#draw()
    this.#listeners.onChange()
  }

  #remove(removed: ListedWord): void {
    this.#words = this.#words.filter((word) => word !== removed)
    this.#draw()
    this.#listeners.onChange()
  }

  #draw(): void {
    const items = this.#words.map((one) => {
      const use = h('button', { type: 'button', class: 'quiet', onclick: () => this.#listeners.onWord(one.word) }, one.word)
      const remove = h(
        'button',
        { type: 'button', 'aria-label': `Remove ${one.word}`, onclick: () => this.#remove(one) },
        'Remove',
      )
      return h('li', { title: one.file.name }, h('div', { class: 'start-line' }, use, remove))
    })
    this.element.replaceChildren(...items)
    this.element.hidden = items.length === 0
  }
}
