/** Turns a picture of the user into the pixels of a start image: the browser decodes it, then it is cropped and scaled to the size of the run. */

import { InputError, type GenerateCallOptions, type PipelineInfo, type PixelImage } from '../../../index.js'
import type { PromptSettings } from '../../parts/settings.js'

/** The largest file that is decoded, in bytes. */
const maxFileBytes = 100e6

/** Decodes a picture. @throws InputError `image` if the file is too large or the browser cannot decode it */
export async function decodePicture(file: Blob): Promise<ImageBitmap> {
  if (file.size > maxFileBytes) {
    throw new InputError('image', `The picture has ${file.size} bytes; the limit is ${maxFileBytes} bytes.`, {
      actual: file.size,
      allowed: maxFileBytes,
    })
  }
  try {
    return await createImageBitmap(file, { imageOrientation: 'from-image' })
  } catch (cause) {
    throw new InputError('image', 'The browser cannot decode this file as a picture.', { type: file.type }, cause)
  }
}

/** Fills a canvas with a picture, cropped around its centre to the shape of the canvas; transparent pixels become white. */
export function drawCover(context: CanvasRenderingContext2D | OffscreenCanvasRenderingContext2D, picture: ImageBitmap): void {
  const { width, height } = context.canvas
  const scale = Math.max(width / picture.width, height / picture.height)
  const [w, h] = [picture.width * scale, picture.height * scale]
  context.fillStyle = 'white'
  context.fillRect(0, 0, width, height)
  context.imageSmoothingQuality = 'high'
  context.drawImage(picture, (width - w) / 2, (height - h) / 2, w, h)
}

/** The pictures that a user gave: the start picture, and the reference pictures, which the model looks at. */
export interface GivenPictures {
  readonly startImage: Blob | null
  readonly referenceImages: readonly Blob[]
}

/**
 * The given pictures that a model uses. A model without reference pictures uses the start picture. A model with reference pictures uses the
 * start picture as the last of them.
 */
export function usedPictures(
  { startImage, referenceImages }: GivenPictures,
  { takesReferences }: Pick<PipelineInfo, 'takesReferences'>,
): GivenPictures {
  if (!takesReferences) return { startImage, referenceImages: [] }
  return { startImage: null, referenceImages: [...referenceImages, ...(startImage === null ? [] : [startImage])] }
}

/** The options of `generate` for the given pictures. A start picture gets the chosen or else default size. @throws InputError `image` */
export async function startOptions(
  { startImage, referenceImages }: GivenPictures,
  { width, height }: Pick<PromptSettings, 'width' | 'height'>,
  { defaults }: Pick<PipelineInfo, 'defaults'>,
): Promise<Pick<GenerateCallOptions, 'image' | 'width' | 'height'>> {
  // Reference pictures keep their shapes: the pipeline scales them.
  if (referenceImages.length > 0) return { image: referenceImages }
  if (startImage === null) return {}
  const size = { width: width ?? defaults.width, height: height ?? defaults.height }
  return { ...size, image: await startPixels(startImage, size.width, size.height) }
}

async function startPixels(file: Blob, width: number, height: number): Promise<PixelImage> {
  const picture = await decodePicture(file)
  try {
    const context = new OffscreenCanvas(width, height).getContext('2d')
    if (context === null) throw new InputError('image', 'The browser has no 2d canvas to draw the picture on.', { width, height })
    drawCover(context, picture)
    const { data } = context.getImageData(0, 0, width, height)
    return { width, height, data }
  } finally {
    picture.close()
  }
}
