/** The autoencoder's way in: an image to the latents that a run starts from. */

import { CheckpointError, InputError } from '../../errors.js'
import { assertHealthy } from '../../runtime/health.js'
import type { TorchGenerator } from '../../util/random.js'
import type { HostTensor } from '../../runtime/types.js'
import { hostTensor, type ComponentHost } from '../execution/component-host.js'
import type { Network } from '../bind-network.js'
import type { Run } from './run.js'
import type { PixelImage, PlainTensor } from '../types.js'
import { latentScales, tilesOf, vaeScaleFactor, type LatentScaling } from './vae-decode.js'
import { workInTiles, type Box } from './vae-tiling.js'

/** @throws InputError `image` unless it is RGBA pixels whose sizes are multiples of `multiple`, at most `maxEdge` */
export function checkImage(image: PixelImage, multiple: number, maxEdge: number): void {
  for (const name of ['width', 'height'] as const) {
    const value = image[name]
    if (!Number.isInteger(value) || value < multiple || value > maxEdge || value % multiple !== 0)
      throw new InputError(
        'image',
        `The image's ${name} is ${value}; allowed are multiples of ${multiple} from ${multiple} to ${maxEdge}.`,
        {
          [name]: value,
          allowed: multiple,
        },
      )
  }
  if (image.data.length !== image.width * image.height * 4)
    throw new InputError(
      'image',
      `The image has ${image.data.length} bytes; ${image.width} × ${image.height} RGBA pixels are ${image.width * image.height * 4}.`,
      {
        bytes: image.data.length,
        expected: image.width * image.height * 4,
      },
    )
}

/** diffusers' VaeImageProcessor, its way in: RGB in −1…1, [1, 3, height, width]. Transparency is not looked at. */
export function normalizeImage({ width, height, data }: PixelImage): PlainTensor {
  const pixels = width * height
  const result = new Float32Array(3 * pixels)
  for (let channel = 0; channel < 3; channel++) {
    for (let pixel = 0; pixel < pixels; pixel++)
      result[channel * pixels + pixel] = 2 * Math.fround((data[pixel * 4 + channel] ?? 0) / 255) - 1
  }
  return { dims: [1, 3, height, width], data: result }
}

/**
 * What the autoencoder gives for an image: [1, 2 · channels, height, width] in latent pixels, means and log variances. In tiles where the
 * whole does not fit.
 */
async function encodeMoments(vae: Network, image: PixelImage, host: ComponentHost, run: Run): Promise<PlainTensor> {
  const pixels = normalizeImage(image)
  const factor = vaeScaleFactor(vae)
  const encode = async (box: Box): Promise<PlainTensor> => {
    const inputs = { sample: cutOut(pixels, box) }
    const data = await host.readOnce(vae, inputs, 'moments', run, { part: 'encoder' })
    assertHealthy(data, "the autoencoder's moments")
    const [height, width] = [box.height / factor, box.width / factor]
    return { dims: [1, data.length / (height * width), height, width], data }
  }
  const { height, width } = image
  const latent = { height: height / factor, width: width / factor }
  const tiles = tilesOf(vae, latent, 'encoder', host, run)
  const work = async () => {
    const tile = tiles()
    if (tile === undefined) return encode({ top: 0, left: 0, height, width })
    return workInTiles({ height, width }, { from: tile * factor, to: tile }, encode)
  }
  return host.recovering(vae, run, work, undefined, 'encoder')
}

/** A part of an image [1, channels, height, width]. */
function cutOut({ dims, data }: PlainTensor, { top, left, height, width }: Box): HostTensor {
  const [, channels = 0, rows = 0, columns = 0] = dims
  const part = new Float32Array(channels * height * width)
  for (let line = 0; line < channels * height; line++) {
    const from = (Math.floor(line / height) * rows + top + (line % height)) * columns + left
    part.set(data.subarray(from, from + width), line * width)
  }
  return hostTensor([1, channels, height, width], part)
}

/** Latents [1, channels, height, width] of an image, drawn from the distribution that the autoencoder gives, at the denoiser's scale. */
export async function encodeImage(
  vae: Network,
  image: PixelImage,
  scaling: LatentScaling,
  noise: Pick<TorchGenerator, 'randn'>,
  host: ComponentHost,
  run: Run,
): Promise<PlainTensor> {
  const { dims, data: moments } = await encodeMoments(vae, image, host, run)
  const [, both = 0, height = 0, width = 0] = dims
  const channels = both / 2
  if (!Number.isInteger(channels))
    throw new CheckpointError('shape-mismatch', 'The autoencoder gave moments of another size.', { size: moments.length })
  const size = moments.length / 2
  const drawn = noise.randn(size)
  // The inverse of what the decoder's side does, which is linear in each channel.
  const scales = latentScales(vae.config, scaling, channels)
  const latents = drawn.map((value, i) => {
    const logVariance = Math.min(20, Math.max(-30, moments[size + i] ?? 0))
    const sample = (moments[i] ?? 0) + Math.fround(Math.exp(0.5 * logVariance)) * value
    const { scale, shift } = scales[Math.floor(i / (height * width))] ?? { scale: 1, shift: 0 }
    return (sample - shift) / scale
  })
  return { dims: [1, channels, height, width], data: latents }
}
