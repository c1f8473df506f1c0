/** Prepares reference images as diffusers' Flux2ImageProcessor does, and makes the tokens that a denoiser attends to beside the latents. */

import { InputError } from '../../errors.js'
import type { AutoencoderModel, Extent } from '../../models/types.js'
import type { HostTensor } from '../../runtime/types.js'
import { TorchGenerator } from '../../util/random.js'
import type { Network } from '../bind-network.js'
import { isImageList } from '../check-inputs.js'
import type { ComponentHost } from '../execution/component-host.js'
import { failuresOf } from '../execution/recovery.js'
import type { Run } from '../run.js'
import { float32Tensor } from '../tensors.js'
import type { GenerateOptions, PixelImage } from '../types.js'
import { resizeLanczos } from './lanczos-resize.js'
import type { ChannelScale } from './latent-scaling.js'
import { encodeImage } from './vae-encode.js'

const least = 64
const mostAspect = 8
/** Larger images are made smaller, to this many pixels. */
const mostPixels = 1024 * 1024
/** With more images than this, attention to their tokens takes more memory than any GPU has. */
const mostImages = 16

/**
 * The images as the autoencoder takes them: at most 1024² pixels in area, and center-cropped to edges that are multiples of `multiple`.
 * @throws InputError `image` for an edge below 64 pixels, an edge more than eight times as long as the other, or data of the wrong length
 */
export function referenceImages(image: GenerateOptions['image'], multiple: number): readonly PixelImage[] {
  if (image === undefined) return []
  const given = isImageList(image) ? image : [image]
  if (given.length > mostImages)
    throw new InputError('image', `image is a list of ${given.length} images; allowed are at most ${mostImages}.`, {
      images: given.length,
      allowed: mostImages,
    })
  return given.map((one) => {
    checkReference(one)
    const { width, height } = one
    if (width * height <= mostPixels) return cropped(one, multiple)
    const scale = Math.sqrt(mostPixels / (width * height))
    return cropped(resizeLanczos(one, Math.trunc(width * scale), Math.trunc(height * scale)), multiple)
  })
}

function checkReference({ width, height, data }: PixelImage): void {
  const refuse = (what: string, allowed: string) => {
    throw new InputError('image', `The reference image ${what}; allowed: ${allowed}.`, { width, height, allowed })
  }
  if (!Number.isInteger(width) || !Number.isInteger(height) || width < least || height < least)
    refuse(`has ${width} × ${height} pixels`, `at least ${least} along each edge`)
  if (Math.max(width / height, height / width) > mostAspect)
    refuse(`has ${width} × ${height} pixels`, `edges of at most ${mostAspect} times the other`)
  if (data.length !== width * height * 4)
    refuse(`has ${data.length} bytes`, `${width * height * 4} for ${width} × ${height} RGBA pixels`)
}

function cropped({ width, height, data }: PixelImage, multiple: number): PixelImage {
  const [columns, rows] = [Math.floor(width / multiple) * multiple, Math.floor(height / multiple) * multiple]
  if (columns === width && rows === height) return { width, height, data }
  const [left, top] = [Math.floor((width - columns) / 2), Math.floor((height - rows) / 2)]
  const result = new Uint8ClampedArray(columns * rows * 4)
  for (let row = 0; row < rows; row++) {
    const from = ((top + row) * width + left) * 4
    result.set(data.subarray(from, from + columns * 4), row * columns * 4)
  }
  return { width: columns, height: rows, data: result }
}

/** The sizes of images in latent pixels. */
export function latentSizes(images: readonly PixelImage[], scaleFactor: number): readonly Extent[] {
  return images.map(({ width, height }) => ({ width: width / scaleFactor, height: height / scaleFactor }))
}

/** The tokens of all images, [1, tokens, channels]: their latents row by row, one image after the other. @throws as running the autoencoder */
export async function encodeReferences(
  vae: Network<AutoencoderModel>,
  images: readonly PixelImage[],
  scales: readonly ChannelScale[],
  host: ComponentHost,
  run: Run,
): Promise<HostTensor> {
  const encoded = await failuresOf({ host, network: vae, part: 'encoder' }, async () => {
    const latents = []
    // The autoencoder of a pipeline with reference images returns latents instead of a distribution, so nothing is drawn.
    for (const image of images) latents.push(await encodeImage(vae, image, scales, new TorchGenerator(0), host, run))
    return latents
  })
  const channels = encoded[0]?.dims[1] ?? 0
  const pixels = encoded.map(({ data }) => data.length / channels)
  const tokens = pixels.reduce((sum, count) => sum + count, 0)
  const result = new Float32Array(tokens * channels)
  let at = 0
  for (const [index, { data }] of encoded.entries()) {
    const count = pixels[index] ?? 0
    for (let pixel = 0; pixel < count; pixel++)
      for (let channel = 0; channel < channels; channel++) result[at++] = data[channel * count + pixel] ?? 0
  }
  return float32Tensor([1, tokens, channels], result)
}
