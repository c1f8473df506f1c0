/**
 * A rough picture of latents without the autoencoder: red, green and blue as linear combinations of the latent channels. One pixel per
 * latent pixel.
 * Source of the coefficients: least squares between latents and images, as the community has published them for each family.
 */

import type { PixelImage, PlainTensor } from '../types.js'

/** For each latent channel its part in red, green and blue (in −1…1), then what is added. */
export interface PreviewCoefficients {
  readonly channels: readonly (readonly [number, number, number])[]
  readonly bias: readonly [number, number, number]
}

export const previewCoefficients: Readonly<Record<'sd' | 'sdxl' | 'sd3', PreviewCoefficients>> = {
  sd: {
    channels: [
      [0.3512, 0.2297, 0.3227],
      [0.325, 0.4974, 0.235],
      [-0.2829, 0.1762, 0.2721],
      [-0.212, -0.2616, -0.7177],
    ],
    bias: [0, 0, 0],
  },
  sdxl: {
    channels: [
      [0.3651, 0.4232, 0.4341],
      [-0.2533, -0.0042, 0.1068],
      [0.1076, 0.1111, -0.0362],
      [-0.3165, -0.2492, -0.2188],
    ],
    bias: [0.1084, -0.0175, -0.0011],
  },
  sd3: {
    channels: [
      [-0.0922, -0.0175, 0.0749],
      [0.0311, 0.0633, 0.0954],
      [0.1994, 0.0927, 0.0458],
      [0.0856, 0.0339, 0.0902],
      [0.0587, 0.0272, -0.0496],
      [-0.0006, 0.1104, 0.0309],
      [0.0978, 0.0306, 0.0427],
      [-0.0042, 0.1038, 0.1358],
      [-0.0194, 0.002, 0.0669],
      [-0.0488, 0.013, -0.0268],
      [0.0922, 0.0988, 0.0951],
      [-0.0278, 0.0524, -0.0542],
      [0.0332, 0.0456, 0.0895],
      [-0.0069, -0.003, -0.081],
      [-0.0596, -0.0465, -0.0293],
      [-0.1448, -0.1463, -0.1189],
    ],
    bias: [0.2394, 0.2135, 0.1925],
  },
}

/**
 * The first image of [batch, channels, height, width]. Latents that are mostly noise are brought to a standard deviation of 1 first.
 * Null where the channels are not those of the coefficients.
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
