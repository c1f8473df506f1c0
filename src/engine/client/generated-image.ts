/** A generated image: its exact pixels, and conversions for a page. */

import { InputError } from '../../errors.js'
import type { PixelImage } from '../../pipelines/types.js'
import { encodePng, type PngText } from './png.js'

/** Milliseconds until the blob URL is revoked: some browsers open it long after the click, once the user has chosen a folder. */
const downloadTime = 60_000

/** A type of picture file that loses detail. */
export type LossyImageType = 'image/jpeg' | 'image/webp'

const types = ['image/png', 'image/jpeg', 'image/webp'] as const
const typesByEnding: Readonly<Record<string, LossyImageType>> = { jpg: 'image/jpeg', jpeg: 'image/jpeg', webp: 'image/webp' }

/** 8-bit RGBA pixels, with conversions. */
export class GeneratedImage implements PixelImage {
  /** In pixels. */
  readonly width: number
  /** In pixels. */
  readonly height: number
  /** RGBA, 8 bits each, row by row from the top left: `width * height * 4` bytes. */
  readonly data: Uint8ClampedArray<ArrayBuffer>

  /** Keeps `data` without copying it. */
  constructor({ width, height, data }: PixelImage) {
    this.width = width
    this.height = height
    this.data = data
  }

  /** As ImageData, for a canvas. Shares the memory of the pixels. */
  toImageData(): ImageData {
    return new ImageData(this.data, this.width, this.height)
  }

  /** As ImageBitmap, which a canvas can draw at any size, and which can be transferred to a worker. */
  toImageBitmap(): Promise<ImageBitmap> {
    return createImageBitmap(this.toImageData())
  }

  /** Draws the pixels on a canvas, which gets their size. @throws InputError `image` if the canvas has another kind of context */
  draw(canvas: HTMLCanvasElement | OffscreenCanvas): void {
    canvas.width = this.width
    canvas.height = this.height
    const context = canvas instanceof OffscreenCanvas ? canvas.getContext('2d') : canvas.getContext('2d')
    if (context === null)
      throw new InputError('image', 'The canvas has a context of another kind than 2d, so no image can be drawn on it.')
    context.putImageData(this.toImageData(), 0, 0)
  }

  /**
   * Encodes a PNG of exactly these pixels, without a canvas, because some browsers add noise to canvas pixels. `text` maps keywords to text
   * that is stored in the PNG; `readPngText` reads it.
   * @throws InputError `unsupported-image-type` for another type
   */
  toBlob(type?: 'image/png', text?: PngText): Promise<Blob>
  /**
   * Encodes a JPEG or WebP with the browser's encoder; `quality` is from 0 to 1, by default the browser's.
   * @throws InputError `unsupported-image-type` if this browser cannot write the type
   */
  toBlob(type: LossyImageType, quality?: number): Promise<Blob>
  async toBlob(type: 'image/png' | LossyImageType = 'image/png', more?: PngText | number): Promise<Blob> {
    if (!types.includes(type))
      throw unsupported(type, `An image can be written as ${types.join(', ')}, not as ${type as string}.`)
    if (type === 'image/png') return new Blob([await encodePng(this, typeof more === 'object' ? more : {})], { type })
    const canvas = new OffscreenCanvas(this.width, this.height)
    this.draw(canvas)
    const blob = await canvas.convertToBlob({ type, ...(typeof more === 'number' ? { quality: more } : {}) })
    // A browser without an encoder for the type writes a PNG.
    if (blob.type !== type) throw unsupported(type, `This browser cannot write ${type}.`)
    return blob
  }

  /** Offers the image to the user as a download named `name`: a JPEG or WebP if the name ends in .jpg, .jpeg or .webp, otherwise a PNG with `text`. */
  async save(name: string, text: PngText = {}): Promise<void> {
    const lossy = typesByEnding[name.slice(name.lastIndexOf('.') + 1).toLowerCase()]
    const url = URL.createObjectURL(await (lossy === undefined ? this.toBlob('image/png', text) : this.toBlob(lossy)))
    const link = document.createElement('a')
    link.href = url
    link.download = name
    link.click()
    setTimeout(() => URL.revokeObjectURL(url), downloadTime)
  }
}

function unsupported(type: string, message: string): InputError {
  return new InputError('unsupported-image-type', message, { type, allowed: types })
}
