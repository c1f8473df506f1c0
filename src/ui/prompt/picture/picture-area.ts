/**
 * The area for pictures: it shows a drawing while empty, the preview while denoising, then the pictures. Its height stays the same, so that
 * the page does not jump. It uses canvases only, because a strict Content-Security-Policy may forbid image URLs.
 */

import type { GeneratedImage, PixelImage } from '../../../index.js'
import { h } from '../../parts/dom.js'
import type { Size } from '../../parts/size.js'
import { drawLandscape, type Colour } from './empty-drawing.js'

/** The size of the drawing in pixels, chosen so that a grain is one or two pixels on the screen. */
const drawing = { width: 720, height: 560 }
/** A small picture is enlarged at most this many times. */
const maxMagnification = 4

/** The area that shows pictures. */
export class PictureArea {
  readonly element: HTMLElement
  readonly #stage = h('div', { class: 'stage' })
  readonly #frame = h('div', { part: 'plate', class: 'frame' }, this.#stage)
  readonly #drawing = h('canvas', { class: 'drawing', 'aria-hidden': 'true' })
  readonly #preview = h('canvas', { class: 'preview', part: 'preview', role: 'img', 'aria-label': 'Preview' })
  readonly #empty = h('div', { class: 'empty' }, h('slot', { name: 'empty' }))
  readonly #results = h('ul', { class: 'results', 'aria-label': 'Pictures' })
  /** The colours of the drawing. */
  #drawn = ''

  constructor() {
    this.#stage.append(this.#drawing, this.#empty)
    this.element = h('section', { class: 'pictures', 'aria-label': 'Picture' }, this.#frame, this.#results)
    this.#results.hidden = true
  }

  /** Draws the landscape in the current colours, unless it already has them. */
  drawEmpty(): void {
    const style = getComputedStyle(this.#drawing)
    const colours = `${style.color} ${style.outlineColor}`
    if (colours === this.#drawn) return
    this.#drawn = colours
    const { width, height } = drawing
    paint(this.#drawing, { width, height, data: drawLandscape(width, height, rgb(style.color), rgb(style.outlineColor)) })
  }

  /** Starts a run: dims what is shown until there is a preview. */
  begin(): void {
    this.element.classList.add('busy')
  }

  /**
   * Shows the preview of a step, as large as the picture will be. If this size is unknown, each pixel of the preview counts as eight pixels
   * of the picture.
   */
  showPreview(preview: PixelImage, size?: Size): void {
    paint(this.#preview, preview, ((size?.width ?? 8 * preview.width) / preview.width) * maxMagnification)
    this.#only(this.#preview)
  }

  /** Shows pictures; `actions` creates the buttons of a picture. */
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

  /** Ends a run. If it gave no pictures, shows the previous pictures or the landscape again. */
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

  /** Removes every picture. */
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

/** Draws pixels on a canvas; with `magnification`, the canvas is enlarged at most that many times. */
function paint(canvas: HTMLCanvasElement, { width, height, data }: PixelImage, magnification?: number): void {
  canvas.width = width
  canvas.height = height
  if (magnification !== undefined) {
    canvas.style.setProperty('--_largest', `${(width * magnification) / 16}rem`)
    canvas.style.setProperty('--_ratio', String(width / height))
  }
  canvas.getContext('2d')?.putImageData(new ImageData(data, width, height), 0, 0)
}

/** The numbers of a computed colour. The style sheets use only colours that compute to `rgb(…)`. */
function rgb(colour: string): Colour {
  const [red = 0, green = 0, blue = 0] = (colour.match(/[\d.]+/g) ?? []).map(Number)
  return [red, green, blue]
}
