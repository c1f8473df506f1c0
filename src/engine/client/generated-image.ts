/** An image as a pipeline made it: its exact pixels, and the ways a page wants them. */

import { InputError } from '../../errors.js'
import type { PixelImage } from '../../pipelines/types.js'
import { encodePng, type PngText } from './png.js'

/** Milliseconds that a download may take to begin: some browsers open the blob long after the click, when the reader has said where to. */
const downloadTime = 60_000

/** 8-bit RGBA pixels with conversions. */
export class GeneratedImage implements PixelImage {
  /** In pixels. */
  readonly width: number
  /** In pixels. */
  readonly height: number
  /** RGBA, 8 bits each, row by row from the top left: `width * height * 4` bytes. */
  readonly data: Uint8ClampedArray<ArrayBuffer>

  /** Shares the pixels. */
  constructor({ width, height, data }: PixelImage) {
    this.width = width
    this.height = height
    this.data = data
  }

  /** For a canvas. Shares the pixels. */
  toImageData(): ImageData {
    return new ImageData(this.data, this.width, this.height)
  }

  /**
   * A PNG of exactly these pixels (no canvas is involved, which some browsers blur on purpose). `text` is stored in it, keyword →
   * text, for `readPngText` to find.
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

  /** Offers the PNG to the reader as a download named `name`. */
  async save(name: string, text: PngText = {}): Promise<void> {
    const url = URL.createObjectURL(await this.toBlob('image/png', text))
    const link = document.createElement('a')
    link.href = url
    link.download = name
    link.click()
    setTimeout(() => URL.revokeObjectURL(url), downloadTime)
  }
}
