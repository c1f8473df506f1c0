/**
 * Makes a rough picture of latents without the autoencoder, one pixel per latent pixel: red, green and blue are linear combinations of the
 * latent channels. Each pipeline class has its own coefficients: least-squares fits of images to latents that the community has published.
 */

import type { PixelImage, PlainTensor } from '../types.js'

/**
 * `channels`: the factors of each latent channel for red, green and blue (in −1…1). `bias`: the constants that are added to red, green and
 * blue.
 */
export interface PreviewCoefficients {
  readonly channels: readonly (readonly [number, number, number])[]
  readonly bias: readonly [number, number, number]
}

/**
 * The first image of [batch, channels, height, width]. Latents with a root mean square above 1, such as those that are mostly noise, are
 * divided by it first. Null if the latents have another number of channels than the coefficients.
 */
export function latentPreview(latents: PlainTensor, { channels, bias }: PreviewCoefficients): PixelImage | null {
  const [, count = 0, height = 0, width = 0] = latents.dims
  if (count !== channels.length) return null
  const pixels = height * width
  const values = latents.data.subarray(0, count * pixels)
  const power = values.reduce((sum, value) => sum + value * value, 0) / values.length
  const scale = 1 / Math.max(1, Math.sqrt(power))
  const data = new Uint8ClampedArray(pixels * 4)
  for (let pixel = 0; pixel < pixels; pixel++) {
    for (let color = 0; color < 3; color++) {
      let sum = bias[color] ?? 0
      for (let channel = 0; channel < count; channel++)
        sum += scale * (values[channel * pixels + pixel] ?? 0) * (channels[channel]?.[color] ?? 0)
      data[pixel * 4 + color] = (sum * 0.5 + 0.5) * 255
    }
    data[pixel * 4 + 3] = 255
  }
  return { width, height, data }
}
