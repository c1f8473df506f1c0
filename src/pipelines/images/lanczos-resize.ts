/**
 * Resizing as PIL does it with `Resampling.LANCZOS` on 8-bit images: first horizontally, then vertically, with fixed-point weights of 22
 * fractional bits. The values are rounded to bytes after each pass.
 */

import type { PixelImage } from '../types.js'

const lobes = 3
const precision = 2 ** 22

/** For one pixel of a line of the result: the source pixels that it is computed from, and their weights. */
interface Tap {
  /** The index of the first of these source pixels. */
  readonly first: number
  readonly weights: readonly number[]
}

function lanczos(x: number): number {
  if (Math.abs(x) >= lobes) return 0
  return sinc(x) * sinc(x / lobes)
}

function sinc(x: number): number {
  return x === 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI)
}

/** PIL's `precompute_coeffs` and `normalize_coeffs_8bpc`. */
function tapsOf(from: number, to: number): readonly Tap[] {
  const step = from / to
  const width = Math.max(1, step)
  const support = lobes * width
  return Array.from({ length: to }, (_, index) => {
    const center = (index + 0.5) * step
    const first = Math.max(0, Math.trunc(center - support + 0.5))
    const end = Math.min(from, Math.trunc(center + support + 0.5))
    const values = Array.from({ length: end - first }, (_, place) => lanczos((place + first - center + 0.5) / width))
    const sum = values.reduce((total, value) => total + value, 0)
    return { first, weights: values.map((value) => Math.trunc((value / sum) * precision + (value < 0 ? -0.5 : 0.5))) }
  })
}

/** Resizes lines, whose pixels are `stride` values apart in the source and in the target. */
function resizeLines(
  source: Uint8ClampedArray,
  target: Uint8ClampedArray,
  taps: readonly Tap[],
  lines: readonly { readonly from: number; readonly to: number }[],
  stride: number,
): void {
  for (const { from, to } of lines) {
    for (const [index, { first, weights }] of taps.entries()) {
      for (let channel = 0; channel < 4; channel++) {
        let sum = precision / 2
        let at = from + first * stride + channel
        for (const weight of weights) {
          sum += weight * (source[at] ?? 0)
          at += stride
        }
        target[to + index * stride + channel] = Math.floor(sum / precision)
      }
    }
  }
}

/** PIL's mode RGBa: colors multiplied by their alpha, in bytes. */
function premultiplied(data: Uint8ClampedArray): Uint8ClampedArray {
  const result = new Uint8ClampedArray(data)
  for (let at = 0; at < data.length; at += 4) {
    const alpha = data[at + 3] ?? 0
    for (let color = at; color < at + 3; color++) {
      const product = (data[color] ?? 0) * alpha + 128
      result[color] = ((product >> 8) + product) >> 8
    }
  }
  return result
}

/** The inverse of {@link premultiplied}, in place. Colors of fully transparent pixels stay as they are. */
function divideByAlpha(data: Uint8ClampedArray): void {
  for (let at = 0; at < data.length; at += 4) {
    const alpha = data[at + 3] ?? 0
    if (alpha === 0 || alpha === 255) continue
    for (let color = at; color < at + 3; color++) data[color] = Math.floor((255 * (data[color] ?? 0)) / alpha)
  }
}

/** Resizes an image to `width` × `height` pixels. As in PIL with RGBA, a color counts in proportion to its opacity. */
export function resizeLanczos({ data: given, ...size }: PixelImage, width: number, height: number): PixelImage {
  const data = premultiplied(given)
  const rows = new Uint8ClampedArray(width * size.height * 4)
  const each = Array.from({ length: size.height }, (_, row) => ({ from: row * size.width * 4, to: row * width * 4 }))
  resizeLines(data, rows, tapsOf(size.width, width), each, 4)
  const result = new Uint8ClampedArray(width * height * 4)
  const columns = Array.from({ length: width }, (_, column) => ({ from: column * 4, to: column * 4 }))
  resizeLines(rows, result, tapsOf(size.height, height), columns, width * 4)
  divideByAlpha(result)
  return { width, height, data: result }
}
