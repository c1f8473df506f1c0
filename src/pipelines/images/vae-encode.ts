/** Encodes an image, such as the start image or a reference image, to latents. */

import { CheckpointError } from '../../errors.js'
import { assertHealthy } from '../../runtime/health.js'
import type { AutoencoderModel } from '../../models/types.js'
import type { TorchGenerator } from '../../util/random.js'
import type { HostTensor } from '../../runtime/types.js'
import type { ComponentHost } from '../execution/component-host.js'
import { float32Tensor } from '../tensors.js'
import type { Network } from '../bind-network.js'
import type { Run } from '../run.js'
import type { PixelImage, PlainTensor } from '../types.js'
import type { ChannelScale } from './latent-scaling.js'
import { VaeTiles } from './vae-tiles.js'
import { workInTiles, type Box } from './vae-tiling.js'
import { normalizeImage } from './image-processor.js'

/**
 * Runs the autoencoder's encoder on an image: returns means and log variances, [1, 2 · channels, height, width] in latent pixels, or the latents, [1,
 * channels, height, width]. It uses tiles if the whole image does not fit.
 */
async function runEncoder(
  vae: Network<AutoencoderModel>,
  image: PixelImage,
  host: ComponentHost,
  run: Run,
  tiles: VaeTiles,
): Promise<PlainTensor> {
  const pixels = normalizeImage(image)
  const factor = vae.model.scaleFactor
  const encode = async (box: Box): Promise<PlainTensor> => {
    const inputs = { sample: cutOut(pixels, box) }
    const data = await host.read(vae, inputs, vae.model.encoderOutput, run, { part: 'encoder' })
    assertHealthy(data, `the autoencoder's ${vae.model.encoderOutput}`)
    const [height, width] = [box.height / factor, box.width / factor]
    return { dims: [1, data.length / (height * width), height, width], data }
  }
  const { height, width } = image
  const latent = { height: height / factor, width: width / factor }
  const tile = tiles.edge('encoder', latent)
  if (tile === undefined) return encode({ top: 0, left: 0, height, width })
  return workInTiles({ height, width }, { from: tile * factor, to: tile }, vae.model.tileJoint, encode)
}

/** A part of an image [1, channels, height, width]. */
function cutOut({ dims, data }: PlainTensor, { top, left, height, width }: Box): HostTensor {
  const [, channels = 0, rows = 0, columns = 0] = dims
  const part = new Float32Array(channels * height * width)
  for (let line = 0; line < channels * height; line++) {
    const from = (Math.floor(line / height) * rows + top + (line % height)) * columns + left
    part.set(data.subarray(from, from + width), line * width)
  }
  return float32Tensor([1, channels, height, width], part)
}

/**
 * Encodes an image to latents [1, channels, height, width] at the denoiser's scale. If the encoder returns a distribution, the latents are
 * sampled from it.
 */
export async function encodeImage(
  vae: Network<AutoencoderModel>,
  image: PixelImage,
  scales: readonly ChannelScale[],
  noise: Pick<TorchGenerator, 'randn'>,
  host: ComponentHost,
  run: Run,
  tiles = new VaeTiles(vae, host, run),
): Promise<PlainTensor> {
  const { dims, data: moments } = await runEncoder(vae, image, host, run, tiles)
  const [, both = 0, height = 0, width = 0] = dims
  // The inverse of the scaling before the decoder, which is linear in each channel.
  const scaled = (sample: number, i: number) => {
    const { scale, shift } = scales[Math.floor(i / (height * width))] ?? { scale: 1, shift: 0 }
    return (sample - shift) / scale
  }
  if (vae.model.encoderOutput === 'latents') return { dims, data: moments.map(scaled) }
  const channels = both / 2
  if (!Number.isInteger(channels))
    throw new CheckpointError('shape-mismatch', 'The autoencoder returned moments of an unexpected size.', {
      size: moments.length,
    })
  const size = moments.length / 2
  const drawn = noise.randn(size)
  const latents = drawn.map((value, i) => {
    const logVariance = Math.min(20, Math.max(-30, moments[size + i] ?? 0))
    const sample = (moments[i] ?? 0) + Math.fround(Math.exp(0.5 * logVariance)) * value
    return scaled(sample, i)
  })
  return { dims: [1, channels, height, width], data: latents }
}
