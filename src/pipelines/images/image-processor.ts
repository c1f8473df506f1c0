/** diffusers' VaeImageProcessor: from the autoencoder's output to an image, and from an image to the autoencoder's input. */

import type { PixelImage, PlainTensor } from '../types.js'

/** [batch, channels, height, width] in about −1…1 → [batch, height, width, channels] in 0…1. */
export function denormalize(sample: PlainTensor): PlainTensor {
  const [batch = 0, channels = 0, height = 0, width = 0] = sample.dims
  const pixels = height * width
  const data = new Float32Array(sample.data.length)
  for (let image = 0; image < batch; image++) {
    for (let channel = 0; channel < channels; channel++) {
      const from = (image * channels + channel) * pixels
      for (let pixel = 0; pixel < pixels; pixel++) {
        const value = (sample.data[from + pixel] ?? 0) * 0.5 + 0.5
        data[(image * pixels + pixel) * channels + channel] = Math.min(1, Math.max(0, value))
      }
    }
  }
  return { dims: [batch, height, width, channels], data }
}

/** Each image of [batch, height, width, 3] in 0…1 as 8-bit RGBA, rounded as numpy does. */
export function toPixels(images: PlainTensor): PixelImage[] {
  const [batch = 0, height = 0, width = 0, channels = 0] = images.dims
  const pixels = height * width
  return Array.from({ length: batch }, (_, image) => {
    const data = new Uint8ClampedArray(pixels * 4)
    for (let pixel = 0; pixel < pixels; pixel++) {
      const from = (image * pixels + pixel) * channels
      for (let channel = 0; channel < 3; channel++) {
        // A Uint8ClampedArray rounds halves to even, as numpy's round does.
        data[pixel * 4 + channel] = Math.fround((images.data[from + Math.min(channel, channels - 1)] ?? 0) * 255)
      }
      data[pixel * 4 + 3] = 255
    }
    return { width, height, data }
  })
}

/** diffusers' `VaeImageProcessor.preprocess`: RGB in −1…1, [1, 3, height, width]. It ignores transparency. */
export function normalizeImage({ width, height, data }: PixelImage): PlainTensor {
  const pixels = width * height
  const result = new Float32Array(3 * pixels)
  for (let channel = 0; channel < 3; channel++) {
    for (let pixel = 0; pixel < pixels; pixel++)
      result[channel * pixels + pixel] = 2 * Math.fround((data[pixel * 4 + channel] ?? 0) / 255) - 1
  }
  return { dims: [1, 3, height, width], data: result }
}
