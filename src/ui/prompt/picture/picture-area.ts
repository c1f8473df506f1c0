/**
 * The frame for pictures: empty with a drawing, then the preview while it denoises, then what came, all in a space of one height, so
 * that nothing jumps. Canvases only: no URL of any kind.
 */

import type { GeneratedImage, PixelImage } from '../../../index.js'
import { h } from '../../parts/dom.js'
import { drawLandscape, type Colour } from './empty-drawing.js'

/** The empty frame's drawing in pixels: the grain is a pixel or two of the screen. */
const drawing = { width: 720, height: 560 }
/** A pixel of a small picture is shown at most this many pixels wide. */
const maxMagnification = 4

/** The frame. */
export class PictureArea {
  readonly element: HTMLElement
  readonly #stage = h('div', { class: 'stage' })
  readonly #frame = h('div', { part: 'plate', class: 'frame' }, this.#stage)
  readonly #drawing = h('canvas', { class: 'drawing', 'aria-hidden': 'true' })
  readonly #preview = h('canvas', { class: 'preview', part: 'preview', role: 'img', 'aria-label': 'Preview' })
  readonly #empty = h('div', { class: 'empty' }, h('slot', { name: 'empty' }))
  readonly #results = h('ul', { class: 'results', 'aria-label': 'Pictures' })

  constructor() {
    this.#stage.append(this.#drawing, this.#empty)
    this.element = h('section', { class: 'pictures', 'aria-label': 'Picture' }, this.#frame, this.#results)
    this.#results.hidden = true
  }

  /** Draws the empty frame in the colours in force. */
  drawEmpty(): void {
    const style = getComputedStyle(this.#drawing)
    const { width, height } = drawing
    paint(this.#drawing, { width, height, data: drawLandscape(width, height, rgb(style.color), rgb(style.outlineColor)) })
  }

  /** A run begins: whatever was there stays, dimmed, until there is something to show. */
  begin(): void {
    this.element.classList.add('busy')
  }

  /** A step's preview in place of what was there, as large as the picture will be: a pixel of latents is eight of the picture. */
  showPreview(preview: PixelImage): void {
    paint(this.#preview, preview, 8 * maxMagnification)
    this.#only(this.#preview)
  }

  /** The pictures; `actions` makes the buttons of one. */
  showImages(images: readonly GeneratedImage[], label: string, actions: (index: number) => readonly HTMLElement[]): void {
    const items = images.map((image, index) => {
      const of = images.length > 1 ? ` (${index + 1} of ${images.length})` : ''
      const canvas = h('canvas', { part: 'image', role: 'img', 'aria-label': `${label}${of}` })
      paint(canvas, image, maxMagnification)
      return h('li', {}, h('div', { class: 'stage' }, canvas), h('div', { class: 'actions', part: 'actions' }, ...actions(index)))
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
    if (shown.some((element) => element.parentNode !== this.#stage)) this.#stage.replaceChildren(...shown)
  }
}

/** Draws; with `magnification`, the canvas is shown at most that many times as large as its pixels. */
function paint(canvas: HTMLCanvasElement, { width, height, data }: PixelImage, magnification?: number): void {
  canvas.width = width
  canvas.height = height
  if (magnification !== undefined) {
    canvas.style.setProperty('--_largest', `${(width * magnification) / 16}rem`)
    canvas.style.setProperty('--_ratio', String(width / height))
  }
  canvas.getContext('2d')?.putImageData(new ImageData(data, width, height), 0, 0)
}

/** The numbers of a computed colour, which is `rgb(…)` for every colour of ours. */
function rgb(colour: string): Colour {
  const [red = 0, green = 0, blue = 0] = (colour.match(/[\d.]+/g) ?? []).map(Number)
  return [red, green, blue]
}
