/**
 * Turns the pictures that a page passes into the pixels that a pipeline takes. The browser decodes a picture, and a canvas scales it. If
 * the page passes pixels, they stay as they are.
 */

import { transfer } from 'comlink'
import { InputError } from '../../errors.js'
import type { GenerateOptions, PixelImage } from '../../pipelines/types.js'
import { throwIfAborted } from '../../util/abort.js'

/**
 * A picture: pixels, a file, an image element or a canvas of the page, a bitmap, or the address of a picture file. An address is absolute
 * or relative to the page; a server of another origin has to allow the request by CORS.
 */
export type ImageInput =
  | PixelImage
  | ImageData
  | Blob
  | ImageBitmap
  | HTMLImageElement
  | HTMLCanvasElement
  | OffscreenCanvas
  | URL
  | string

/** Pixels for a pipeline. `isCopy`: {@link readImage} made them itself, so their memory may be transferred to the worker. */
export interface ReadImage {
  readonly image: PixelImage
  readonly isCopy: boolean
}

/** What {@link readImage} needs besides the picture. */
export interface ReadImageOptions {
  readonly width?: number | undefined
  readonly height?: number | undefined
  readonly signal?: AbortSignal | undefined
}

/**
 * Reads the pixels of a picture. If the input is pixels, they are returned unchanged. If `width` and `height` (in pixels) are given, any
 * other picture is scaled until it covers them, and cropped to them. Transparent parts become white.
 * @throws InputError `image` if the browser cannot read the picture, or does not allow the page to read it
 */
export async function readImage(input: ImageInput, { width, height, signal }: ReadImageOptions = {}): Promise<ReadImage> {
  if (isPixels(input)) return { image: { width: input.width, height: input.height, data: input.data }, isCopy: false }
  const source = typeof input === 'string' || input instanceof URL ? await fetchPicture(String(input), signal) : input
  const picture = await decode(source)
  try {
    throwIfAborted(signal)
    const size = width === undefined || height === undefined ? picture : { width, height }
    return { image: draw(picture, size.width, size.height), isCopy: true }
  } finally {
    picture.close()
  }
}

/** Adds images to the options of a generation. Pixels made by {@link readImage} are transferred to the worker; the caller's are copied. */
export function withImages(options: GenerateOptions, images: ReadImage | readonly ReadImage[]): GenerateOptions {
  const list = Array.isArray(images) ? (images as readonly ReadImage[]) : undefined
  const all = list ?? [images as ReadImage]
  const image = list === undefined ? (images as ReadImage).image : list.map((one) => one.image)
  return transfer(
    { ...options, image },
    all.flatMap((one) => (one.isCopy ? [one.image.data.buffer] : [])),
  )
}

/** Whether an input holds 8-bit sRGB pixels. An ImageData may hold float16 or Display P3 pixels instead: a canvas converts these. */
function isPixels(input: ImageInput | null): input is PixelImage {
  return (
    typeof input === 'object' &&
    input !== null &&
    'data' in input &&
    input.data instanceof Uint8ClampedArray &&
    !isDisplayP3(input)
  )
}

function isDisplayP3(input: object): boolean {
  return 'colorSpace' in input && input.colorSpace !== 'srgb'
}

async function fetchPicture(address: string, signal: AbortSignal | undefined): Promise<Blob> {
  const url = URL.canParse(address, document.baseURI) ? new URL(address, document.baseURI).href : undefined
  const shown = address.slice(0, 200)
  if (url === undefined) throw new InputError('image', `image is ${JSON.stringify(shown)}, which is no URL.`, { image: shown })
  let status: number
  try {
    const answer = await fetch(url, { signal: signal ?? null })
    if (answer.ok) return await answer.blob()
    status = answer.status
  } catch (cause) {
    throwIfAborted(signal)
    const why = 'the server cannot be reached, or does not allow this page to read the file (Access-Control-Allow-Origin)'
    throw new InputError('image', `The picture ${shown} cannot be downloaded: ${why}.`, { image: shown }, cause)
  }
  throw new InputError('image', `The picture ${shown} cannot be downloaded: the server answered ${status}.`, {
    image: shown,
    status,
  })
}

async function decode(source: Exclude<ImageInput, PixelImage | URL | string>): Promise<ImageBitmap> {
  try {
    if (typeof HTMLImageElement !== 'undefined' && source instanceof HTMLImageElement) await source.decode()
    return await createImageBitmap(source, { imageOrientation: 'from-image' })
  } catch (cause) {
    const type = kindOf(source)
    throw new InputError('image', `image is not a picture that this browser can decode (${type}).`, { type }, cause)
  }
}

/** What a value is, in a word, for a message. */
function kindOf(source: unknown): string {
  if (source instanceof Blob) return source.type === '' ? 'a file of unknown type' : source.type
  return Object.prototype.toString.call(source).slice('[object '.length, -1)
}

/** The picture on white, scaled until it covers the size, and centred. */
function draw(picture: ImageBitmap, width: number, height: number): PixelImage {
  try {
    const context = new OffscreenCanvas(width, height).getContext('2d')
    if (context === null)
      throw new InputError('image', 'The browser has no 2d canvas to read the picture with.', { width, height })
    const scale = Math.max(width / picture.width, height / picture.height)
    const [w, h] = [picture.width * scale, picture.height * scale]
    context.fillStyle = 'white'
    context.fillRect(0, 0, width, height)
    context.imageSmoothingQuality = 'high'
    context.drawImage(picture, (width - w) / 2, (height - h) / 2, w, h)
    const { data } = context.getImageData(0, 0, width, height)
    return { width, height, data }
  } catch (cause) {
    if (!(cause instanceof DOMException) || cause.name !== 'SecurityError') throw cause
    throw new InputError(
      'image',
      'The picture is from another origin, and the page may not read its pixels: load it with crossorigin, from a server that allows it.',
      {},
      cause,
    )
  }
}
