/** The field for reference pictures, which a model looks at while it draws: the user picks, drops or pastes several, and orders and removes them. */

import { h, setText } from '../../parts/dom.js'
import { decodePicture, drawCover } from './start-pixels.js'

/** The most pictures that the pipelines take. */
const mostPictures = 16
/** The smallest length of an edge in pixels, and the largest ratio of the longer edge to the shorter one. */
const least = 64
const mostAspect = 8
/** Side of a thumbnail in pixels: twice its size on the page. */
const thumbSize = 192
/** The type of the data that is dragged when the user drags a picture of the list. */
const dragType = 'application/x-aquatint-reference'

interface Picture {
  readonly file: Blob
  readonly thumb: HTMLCanvasElement
}

type Action = 'earlier' | 'later' | 'remove'

/** The list of pictures, and the button that adds some. */
export class ReferencePictures {
  readonly element: HTMLElement
  readonly #onChange: () => void
  readonly #file = h('input', { type: 'file', accept: 'image/*', multiple: true, tabindex: -1, 'aria-hidden': 'true' })
  readonly #pick = h('button', { type: 'button', class: 'pick', 'aria-describedby': 'reference-note' }, 'Add reference pictures')
  readonly #note = h('p', { class: 'note', id: 'reference-note' })
  readonly #status = h('p', { class: 'note', role: 'status' })
  readonly #list = h('ol', { class: 'reference-list', 'aria-label': 'Reference pictures' })
  #pictures: readonly Picture[] = []
  #supported: boolean | undefined

  /** `onChange` is called when the pictures or their order change. */
  constructor(onChange: () => void) {
    this.#onChange = onChange
    this.#file.hidden = true
    this.element = h(
      'div',
      { class: 'references', part: 'reference-pictures' },
      this.#list,
      h('div', { class: 'start-empty' }, this.#pick, this.#note, this.#file),
      this.#status,
    )
    this.#pick.addEventListener('click', () => this.#file.click())
    this.#file.addEventListener('change', () => {
      const files = [...(this.#file.files ?? [])]
      this.#file.value = ''
      void this.add(files)
    })
    this.element.addEventListener('dragover', (event) => {
      if (event.dataTransfer?.types.some((type) => type === 'Files' || type === dragType) === true) event.preventDefault()
    })
    this.element.addEventListener('drop', (event) => this.#take(event, event.dataTransfer))
    this.element.addEventListener('paste', (event) => this.#take(event, event.clipboardData))
    this.#draw()
  }

  /** The pictures in their order; none if the model takes none. */
  get value(): readonly Blob[] {
    return this.#supported === false ? [] : this.#pictures.map(({ file }) => file)
  }

  set value(files: readonly Blob[]) {
    // Use each thumbnail once, even if a picture is in the list twice.
    const left = [...this.#pictures]
    this.#pictures = files.slice(0, mostPictures).map((file) => {
      const at = left.findIndex((one) => one.file === file)
      return (at < 0 ? undefined : left.splice(at, 1)[0]) ?? drawn(file)
    })
    setText(this.#status, '')
    this.#draw()
    this.#onChange()
  }

  /**
   * Whether the model takes reference pictures; undefined until it is loaded. If it takes none, the pictures are kept for the next model
   * that does.
   */
  set supported(supported: boolean | undefined) {
    this.#supported = supported
    this.#draw()
  }

  /** Adds pictures to the end of the list; shows the reason for each that the model cannot take. */
  async add(files: readonly Blob[]): Promise<void> {
    const problems: string[] = []
    const taken: Blob[] = []
    for (const file of files) {
      const problem =
        this.#pictures.length + taken.length < mostPictures
          ? await problemOf(file)
          : `A model can use at most ${mostPictures} reference pictures.`
      if (problem === undefined) taken.push(file)
      else if (!problems.includes(problem)) problems.push(problem)
    }
    if (taken.length > 0) this.value = [...this.#pictures.map(({ file }) => file), ...taken]
    setText(this.#status, problems.join(' '))
  }

  #take(event: Event, transfer: DataTransfer | null): void {
    if (transfer === null || transfer.types.includes(dragType)) return
    const files = [...transfer.files]
    if (files.length === 0) return
    event.preventDefault()
    void this.add(files)
  }

  #move(from: number, to: number, focus?: Action): void {
    const files = this.#pictures.map(({ file }) => file)
    const [file] = files.splice(from, 1)
    if (file === undefined || to < 0 || to > files.length) return
    files.splice(to, 0, file)
    this.value = files
    setText(this.#status, `Picture ${from + 1} is now picture ${to + 1}.`)
    // The list was drawn again. Focus the pressed button again. It is disabled if the picture is now at an end of the list: then focus the
    // button for the other direction.
    if (focus !== undefined) this.#focus(to, focus, focus === 'earlier' ? 'later' : 'earlier')
  }

  #removeAt(index: number): void {
    this.value = this.value.filter((_, other) => other !== index)
    setText(this.#status, `Picture ${index + 1} was removed.`)
    if (this.#pictures.length === 0) this.#pick.focus()
    else this.#focus(Math.min(index, this.#pictures.length - 1), 'remove')
  }

  #focus(index: number, ...actions: readonly Action[]): void {
    const buttons = actions.map((action) => this.#list.children[index]?.querySelector<HTMLButtonElement>(`.${action}`))
    buttons.find((button) => button?.disabled === false)?.focus()
  }

  #draw(): void {
    // Before the model is loaded, show pictures that the gallery or the page has set.
    this.element.hidden = !(this.#supported ?? this.#pictures.length > 0)
    this.#list.hidden = this.#pictures.length === 0
    this.#pick.disabled = this.#pictures.length >= mostPictures
    setText(
      this.#note,
      this.#pictures.length === 0
        ? `Or drop or paste up to ${mostPictures} here. The model uses them to draw the result.`
        : 'Say in the prompt what to do with them. The result has the size of the first, unless you set one. Each takes time and memory.',
    )
    this.#list.replaceChildren(...this.#pictures.map((picture, index) => this.#item(picture, index)))
  }

  #item({ thumb }: Picture, index: number): HTMLElement {
    const number = index + 1
    const count = this.#pictures.length
    thumb.setAttribute('aria-label', `Reference picture ${number}`)
    const item = h(
      'li',
      { draggable: 'true' },
      thumb,
      h('span', { class: 'reference-number', 'aria-hidden': 'true' }, String(number)),
      h(
        'div',
        { class: 'reference-tools' },
        toolButton('earlier', '←', `Move picture ${number} earlier`, index === 0, () => this.#move(index, index - 1, 'earlier')),
        toolButton('later', '→', `Move picture ${number} later`, number === count, () => this.#move(index, index + 1, 'later')),
        toolButton('remove', '×', `Remove picture ${number}`, false, () => this.#removeAt(index)),
      ),
    )
    item.addEventListener('dragstart', (event) => event.dataTransfer?.setData(dragType, String(index)))
    item.addEventListener('drop', (event) => {
      const from = event.dataTransfer?.getData(dragType) ?? ''
      if (from === '') return
      event.preventDefault()
      this.#move(Number(from), index)
    })
    return item
  }
}

/** A button below a picture. `label` is for screen readers and the tooltip. */
function toolButton(action: Action, text: string, label: string, disabled: boolean, press: () => void): HTMLElement {
  return h(
    'button',
    { type: 'button', class: `quiet ${action}`, 'aria-label': label, title: label, disabled, onclick: press },
    text,
  )
}

/** A picture whose thumbnail is drawn when the browser has decoded it. */
function drawn(file: Blob): Picture {
  const thumb = h('canvas', { role: 'img', width: thumbSize, height: thumbSize })
  void paint(file, thumb)
  return { file, thumb }
}

async function paint(file: Blob, thumb: HTMLCanvasElement): Promise<void> {
  const bitmap = await decodePicture(file).catch(() => undefined)
  const context = thumb.getContext('2d')
  // A file that cannot be decoded has an empty thumbnail; generating reports it.
  if (bitmap === undefined || context === null) return
  drawCover(context, bitmap)
  bitmap.close()
}

/** Why a model cannot take a picture; undefined if it can. */
async function problemOf(file: Blob): Promise<string | undefined> {
  const name = file instanceof File ? file.name : 'The picture'
  try {
    const { width, height } = await sizeOf(file)
    if (Math.min(width, height) < least) return `${name} has ${width} × ${height} pixels; each edge must have at least ${least}.`
    if (Math.max(width / height, height / width) > mostAspect)
      return `${name} has ${width} × ${height} pixels; no edge may be more than ${mostAspect} times as long as the other.`
    return undefined
  } catch (error) {
    return `${name}: ${error instanceof Error ? error.message : String(error)}`
  }
}

async function sizeOf(file: Blob): Promise<{ readonly width: number; readonly height: number }> {
  const bitmap = await decodePicture(file)
  const { width, height } = bitmap
  bitmap.close()
  return { width, height }
}
