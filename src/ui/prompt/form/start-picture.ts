/** The field for a start picture, which the user picks, drops or pastes, and the slider for its strength. */

import type { Size } from '../../parts/size.js'
import { h, setText } from '../../parts/dom.js'
import { fitWords } from './fit-words.js'
import { decodePicture, drawCover } from './start-pixels.js'
import { numberRules } from '../../parts/settings.js'

/** The default strength: high enough to follow the prompt, low enough to keep the picture. */
const usualStrength = 0.6
/** Side of the thumbnail in pixels: twice its size on the page. */
const thumbSize = 112

/** The field and its slider. */
export class StartPicture {
  readonly element: HTMLElement
  readonly #onChange: () => void
  readonly #file = h('input', { type: 'file', accept: 'image/*', tabindex: -1, 'aria-hidden': 'true' })
  readonly #pick = h('button', { type: 'button', class: 'pick', 'aria-describedby': 'start-note' }, 'Start from a picture')
  readonly #note = h('p', { class: 'note', id: 'start-note' })
  readonly #thumb = h('canvas', { role: 'img', 'aria-label': 'The picture to start from', width: thumbSize, height: thumbSize })
  readonly #strength = h('input', {
    id: numberRules.strength.query,
    type: 'range',
    min: 0.05,
    max: 1,
    step: 0.01,
    value: usualStrength,
    'aria-describedby': 'start-fit strength-note',
  })
  readonly #label = h('label', { for: this.#strength.id, title: 'How much of the image is redrawn' }, numberRules.strength.label)
  readonly #strengthNote = h(
    'p',
    { class: 'note', id: 'strength-note' },
    'Low values keep the picture; 100% follows the prompt alone.',
  )
  readonly #fit = h('p', { class: 'note', id: 'start-fit' })
  readonly #shown = h('output', { for: numberRules.strength.query })
  readonly #remove = h('button', { type: 'button', 'aria-label': 'Remove the picture to start from' }, 'Remove')
  readonly #empty: HTMLElement
  readonly #filled: HTMLElement
  #value: Blob | null = null
  #supported = true
  #pictureSize: Size | undefined
  #resultSize: Size | undefined

  /** `onChange` is called when the picture changes. */
  constructor(onChange: () => void) {
    this.#onChange = onChange
    this.#file.hidden = true
    this.#empty = h('div', { class: 'start-empty' }, this.#pick, this.#note, this.#file)
    this.#filled = h(
      'div',
      { class: 'start-filled' },
      this.#thumb,
      h(
        'div',
        { class: 'field' },
        h('div', { class: 'start-line' }, this.#label, this.#shown, this.#remove),
        this.#strength,
        this.#fit,
        this.#strengthNote,
      ),
    )
    this.element = h('div', { class: 'start', part: 'start-picture' }, this.#empty, this.#filled)
    this.#pick.addEventListener('click', () => this.#file.click())
    this.#file.addEventListener('change', () => {
      const [file] = this.#file.files ?? []
      this.#file.value = ''
      if (file !== undefined) void this.take(file)
    })
    this.#remove.addEventListener('click', () => {
      this.value = null
      this.#pick.focus()
    })
    this.#strength.addEventListener('input', () => this.#draw())
    this.element.addEventListener('dragover', (event) => {
      if (this.#supported && event.dataTransfer?.types.includes('Files') === true) event.preventDefault()
    })
    this.element.addEventListener('drop', (event) => {
      const [file] = event.dataTransfer?.files ?? []
      if (file === undefined || !this.#supported) return
      event.preventDefault()
      void this.take(file)
    })
    this.element.addEventListener('paste', (event) => {
      const [file] = event.clipboardData?.files ?? []
      if (file === undefined || !this.#supported) return
      event.preventDefault()
      void this.take(file)
    })
    this.#draw()
  }

  /** The picture, or null if there is none or the model cannot use one. */
  get value(): Blob | null {
    return this.#supported ? this.#value : null
  }

  set value(picture: Blob | null) {
    if (picture === null) {
      this.#value = null
      this.#draw()
      this.#onChange()
    } else void this.take(picture)
  }

  /** How much of the picture is redrawn, 0.05 to 1; undefined without a picture. */
  get strength(): number | undefined {
    return this.value === null ? undefined : Number(this.#strength.value)
  }

  set strength(strength: number | undefined) {
    this.#strength.value = String(strength ?? usualStrength)
    this.#draw()
  }

  /** Whether the model can start from a picture. If it cannot, the picture is kept for the next model that can. */
  set supported(supported: boolean) {
    this.#supported = supported
    this.#draw()
  }

  /** The size of the result, if it is known: the picture is scaled to it, and cropped if its shape differs. */
  set resultSize(size: Size | undefined) {
    this.#resultSize = size
    this.#draw()
  }

  /** Sets a file as the picture; shows the reason if that fails. */
  async take(file: Blob): Promise<boolean> {
    try {
      const bitmap = await decodePicture(file)
      const context = this.#thumb.getContext('2d')
      if (context !== null) drawCover(context, bitmap)
      this.#pictureSize = { width: bitmap.width, height: bitmap.height }
      bitmap.close()
    } catch (error) {
      setText(this.#note, error instanceof Error ? error.message : String(error))
      return false
    }
    // The focused button is about to disappear: move the focus to the slider that replaces it.
    const root = this.element.getRootNode()
    const pressed = root instanceof ShadowRoot && root.activeElement === this.#pick
    this.#value = file
    this.#draw()
    if (pressed) this.#strength.focus()
    this.#onChange()
    return true
  }

  #draw(): void {
    const there = this.value !== null
    this.#empty.hidden = there
    this.#filled.hidden = !there
    this.#pick.disabled = !this.#supported
    setText(
      this.#note,
      this.#supported
        ? 'Or drop or paste one here.'
        : 'Not available: this model cannot read a picture, because its autoencoder has no encoder.',
    )
    setText(this.#fit, fitWords(this.#pictureSize, this.#resultSize))
    const percent = `${Math.round(Number(this.#strength.value) * 100)}%`
    setText(this.#shown, percent)
    this.#strength.setAttribute('aria-valuetext', percent)
  }
}
