/** Resizing as PIL does it with `Resampling.LANCZOS` on 8-bit images: rows first, then columns, with weights of 22 bits and bytes between. */

import type { PixelImage } from '../types.js'

const lobes = 3
const precision = 2 ** 22

/** What the pixels of a line of the result are made of. */
interface Tap {
  /** The first pixel of the source. */
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

/** An image of `width` × `height` pixels. Transparency is resized as the colors are. */
export function resizeLanczos({ data, ...size }: PixelImage, width: number, height: number): PixelImage {
  const rows = new Uint8ClampedArray(width * size.height * 4)
  const each = Array.from({ length: size.height }, (_, row) => ({ from: row * size.width * 4, to: row * width * 4 }))
  resizeLines(data, rows, tapsOf(size.width, width), each, 4)
  const result = new Uint8ClampedArray(width * height * 4)
  const columns = Array.from({ length: width }, (_, column) => ({ from: column * 4, to: column * 4 }))
  resizeLines(rows, result, tapsOf(size.height, height), columns, width * 4)
  return { width, height, data: result }
}
