/** A generated image: its exact pixels, and conversions for a page. */

import { InputError } from '../../errors.js'
import type { PixelImage } from '../../pipelines/types.js'
import { encodePng, type PngText } from './png.js'

/** Milliseconds until the blob URL is revoked: some browsers open it long after the click, once the user has chosen a folder. */
const downloadTime = 60_000

/** 8-bit RGBA pixels, with conversions. */
export class GeneratedImage implements PixelImage {
  /** In pixels. */
  readonly width: number
  /** In pixels. */
  readonly height: number
  /** RGBA, 8 bits each, row by row from the top left: `width * height * 4` bytes. */
  readonly data: Uint8ClampedArray<ArrayBuffer>

  /** Shares the memory of the pixels. */
  constructor({ width, height, data }: PixelImage) {
    this.width = width
    this.height = height
    this.data = data
  }

  /** As ImageData, for a canvas. Shares the memory of the pixels. */
  toImageData(): ImageData {
    return new ImageData(this.data, this.width, this.height)
  }

  /**
   * Encodes a PNG of exactly these pixels, without a canvas, because some browsers add noise to canvas pixels. `text` maps keywords to text
   * that is stored in the PNG; `readPngText` reads it.
   * @throws InputError `unsupported-image-type` for another type
   */
  async toBlob(type: 'image/png' = 'image/png', text: PngText = {}): Promise<Blob> {
    if (type !== 'image/png') {
      throw new InputError('unsupported-image-type', `An image can be written as image/png, not as ${String(type)}.`, {
        type: String(type),
      })
    }
    return new Blob([await encodePng(this, text)], { type })
  }

  /** Offers the PNG to the user as a download named `name`. */
  async save(name: string, text: PngText = {}): Promise<void> {
    const url = URL.createObjectURL(await this.toBlob('image/png', text))
    const link = document.createElement('a')
    link.href = url
    link.download = name
    link.click()
    setTimeout(() => URL.revokeObjectURL(url), downloadTime)
  }
}
