/** The list of LoRAs in the form: each with a slider for its weight, and buttons that add its trigger words to the prompt. */

import type { LoraInfo } from '../../../index.js'
import { h, setText } from '../../parts/dom.js'
import { loraName, loraWeights, type LoraSetting } from '../../parts/lora-settings.js'
import { publishedSettings } from '../../parts/model-settings.js'

/** A LoRA in the list: its setting, and the file if the user picked one. */
export interface ListedLora extends LoraSetting {
  readonly file?: File | undefined
}

/** What a shelf reports. */
export interface ShelfListeners {
  readonly onChange: () => void
  /** Called when the user has chosen a trigger word. */
  readonly onWord: (word: string) => void
}

interface Item {
  readonly lora: Omit<ListedLora, 'weight'>
  /** The exact weight, which the slider shows rounded. */
  weight: number
  readonly element: HTMLElement
  readonly words: HTMLElement
}

/** The list and its button. */
export class LoraShelf {
  readonly element: HTMLElement
  readonly #listeners: ShelfListeners
  readonly #list = h('ul', { class: 'loras', 'aria-label': 'LoRAs' })
  readonly #file = h('input', { type: 'file', accept: '.safetensors', tabindex: -1, 'aria-hidden': 'true' })
  readonly #pick = h('button', { type: 'button', class: 'pick', 'aria-describedby': 'lora-note' }, 'Add a LoRA')
  #items: Item[] = []

  constructor(listeners: ShelfListeners) {
    this.#listeners = listeners
    this.#file.hidden = true
    const note = h('p', { class: 'note', id: 'lora-note' }, 'Or drop its file on the page.')
    this.element = h(
      'div',
      { class: 'shelf', part: 'loras' },
      this.#list,
      h('div', { class: 'start-empty' }, this.#pick, note, this.#file),
    )
    this.#pick.addEventListener('click', () => this.#file.click())
    this.#file.addEventListener('change', () => {
      const [file] = this.#file.files ?? []
      this.#file.value = ''
      if (file !== undefined) this.add(file)
    })
    this.#list.hidden = true
  }

  /** The LoRAs, in the order in which they were added. */
  get value(): readonly ListedLora[] {
    return this.#items.map(({ lora, weight }) => ({ ...lora, weight }))
  }

  /** The settings of the LoRAs. Assigning settings keeps the file of each LoRA whose `source` stays in the list. */
  get settings(): readonly LoraSetting[] {
    return this.value.map(({ source, weight }) => ({ source, weight }))
  }
  set settings(settings: readonly LoraSetting[]) {
    const files = new Map(this.#items.map(({ lora }) => [lora.source, lora.file]))
    this.#items = settings.map(({ source, weight }) => this.#item({ source, file: files.get(source) }, weight))
    this.#draw()
  }

  /** Adds a file, or replaces the LoRA of the same name. */
  add(file: File): void {
    const at = this.#items.findIndex(({ lora }) => lora.source === file.name)
    const weight = this.#items[at]?.weight ?? publishedSettings(file.name)?.weight ?? 1
    const item = this.#item({ source: file.name, file }, weight)
    this.#items = at < 0 ? [...this.#items, item] : this.#items.with(at, item)
    this.#draw()
    this.#listeners.onChange()
  }

  /** Shows the trigger words of the loaded LoRAs. An entry of the list is matched to a loaded LoRA by the name of the LoRA's file. */
  show(infos: readonly LoraInfo[]): void {
    for (const { lora, words } of this.#items) {
      const known = infos.find(({ file }) => file === loraName(lora.source))
      if (known === undefined) continue
      words.replaceChildren(
        ...known.triggerWords.map((word) =>
          h('button', { type: 'button', class: 'quiet', onclick: () => this.#listeners.onWord(word) }, word),
        ),
      )
    }
  }

  #item(lora: Item['lora'], weight: number): Item {
    const name = loraName(lora.source)
    const { min, max, step } = loraWeights
    const slider = h('input', { type: 'range', min, max, step, value: weight, 'aria-label': `Strength of ${name}` })
    const shown = h('output', {}, String(weight))
    const words = h('div', { class: 'lora-words' })
    const remove = h('button', { type: 'button', 'aria-label': `Remove ${name}` }, 'Remove')
    const isMissing = lora.file === undefined && !lora.source.includes('/')
    const missing = h('p', { class: 'note' }, 'Only its name is known: drop the file on the page, or remove it here.')
    missing.hidden = !isMissing
    const element = h(
      'li',
      { title: lora.source },
      h('div', { class: 'start-line' }, h('span', { class: 'lora-name' }, name), shown, remove),
      slider,
      missing,
      words,
    )
    const item: Item = { lora, weight, element, words }
    slider.addEventListener('input', () => {
      item.weight = Number(slider.value)
      setText(shown, slider.value)
    })
    remove.addEventListener('click', () => {
      this.#items = this.#items.filter((other) => other !== item)
      this.#draw()
      this.#pick.focus()
      this.#listeners.onChange()
    })
    return item
  }

  #draw(): void {
    this.#list.replaceChildren(...this.#items.map(({ element }) => element))
    this.#list.hidden = this.#items.length === 0
  }
}
