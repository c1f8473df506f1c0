/** The frame for pictures: empty with a drawing, then the preview while it denoises, then what came. Canvases only: no URL of any kind. */

import type { GeneratedImage, PixelImage } from '../../index.js'
import { h } from '../parts/dom.js'
import { drawPlate, type Colour } from './plate-drawing.js'

/** Side of the empty frame's drawing in pixels: the grain is a pixel or two of the screen. */
const drawingSize = 560

/** The frame. */
export class Plate {
  readonly element: HTMLElement
  readonly #frame = h('div', { part: 'plate', class: 'plate' })
  readonly #drawing = h('canvas', { class: 'drawing', 'aria-hidden': 'true' })
  readonly #preview = h('canvas', { class: 'preview', part: 'preview', role: 'img', 'aria-label': 'Preview' })
  readonly #empty = h('div', { class: 'empty' }, h('slot', { name: 'empty' }))
  readonly #results = h('ul', { class: 'results', 'aria-label': 'Pictures' })

  constructor() {
    this.#frame.append(this.#drawing, this.#empty)
    this.element = h('section', { class: 'pictures', 'aria-label': 'Picture' }, this.#frame, this.#results)
    this.#results.hidden = true
  }

  /** Shape of the frame while nothing is in it, so that the page does not jump when the picture comes. */
  setSize(width: number, height: number): void {
    this.element.style.setProperty('--_ratio', `${width} / ${height}`)
  }

  /** Draws the empty frame in the colours in force. */
  drawEmpty(): void {
    const style = getComputedStyle(this.#drawing)
    const pixels = drawPlate(drawingSize, drawingSize, rgb(style.color), rgb(style.outlineColor))
    paint(this.#drawing, { width: drawingSize, height: drawingSize, data: pixels })
  }

  /** A run begins: whatever was there stays, dimmed, until there is something to show. */
  begin(): void {
    this.element.classList.add('busy')
  }

  /** A step's preview in place of what was there. */
  showPreview(preview: PixelImage): void {
    paint(this.#preview, preview)
    this.#only(this.#preview)
  }

  /** The pictures; `actions` makes the buttons of one. */
  showImages(images: readonly GeneratedImage[], label: string, actions: (index: number) => readonly HTMLElement[]): void {
    const items = images.map((image, index) => {
      const of = images.length > 1 ? ` (${index + 1} of ${images.length})` : ''
      const canvas = h('canvas', { part: 'image', role: 'img', 'aria-label': `${label}${of}` })
      paint(canvas, image)
      return h('li', {}, canvas, h('div', { class: 'actions', part: 'actions' }, ...actions(index)))
    })
    this.#results.replaceChildren(...items)
    this.#results.classList.toggle('many', images.length > 1)
    this.#frame.hidden = true
    this.#results.hidden = false
    this.#preview.remove()
    this.end()
  }

  /** A run ended without pictures: the last ones, or the empty frame, are back. */
  end(): void {
    this.element.classList.remove('busy')
    if (this.#preview.isConnected) {
      if (this.#results.childElementCount > 0) {
        this.#preview.remove()
        this.#frame.hidden = true
        this.#results.hidden = false
      } else this.#only(this.#drawing, this.#empty)
    }
  }

  /** Forgets every picture. */
  clear(): void {
    this.#results.replaceChildren()
    this.#only(this.#drawing, this.#empty)
    this.element.classList.remove('busy')
  }

  #only(...shown: readonly Element[]): void {
    this.#results.hidden = true
    this.#frame.hidden = false
    if (shown.some((element) => element.parentNode !== this.#frame)) this.#frame.replaceChildren(...shown)
  }
}

function paint(canvas: HTMLCanvasElement, { width, height, data }: PixelImage): void {
  canvas.width = width
  canvas.height = height
  canvas.getContext('2d')?.putImageData(new ImageData(data, width, height), 0, 0)
}

/** The numbers of a computed colour, which is `rgb(…)` for every colour of ours. */
function rgb(colour: string): Colour {
  const [red = 0, green = 0, blue = 0] = (colour.match(/[\d.]+/g) ?? []).map(Number)
  return [red, green, blue]
}
