/**
 * Chooses the scales of 4-bit blocks by least squared error. Pure functions over arrays.
 *
 * Given the codes q of a block, the scale with the least squared error is Σwq / Σq². The codes depend on the scale in turn, so three scales are
 * tried: they map the weight of largest magnitude to −8, −7.2 and −8.8 before rounding and clamping. More scales would gain less than 0.1 dB for
 * normally distributed weights.
 */

import { float16ToFloat32, float32ToFloat16 } from '../../util/half.js'

/**
 * The first of the three scales gives the weight of largest magnitude the code −8. With the two others, each code before rounding is
 * multiplied by one of these factors.
 */
const wider = 7.2 / 8
const narrower = 8.8 / 8

/**
 * Scales of 4-bit blocks without zero points, as float16 bits. `byRange` are the scales that give the weight of largest magnitude the
 * lowest code. A block keeps this scale unless the best of the tried scales, rounded to float16, has a smaller squared error.
 */
export function leastSquaresScales(weights: Float32Array, byRange: Uint16Array<ArrayBuffer>): Uint16Array<ArrayBuffer> {
  const given = float16ToFloat32(byRange)
  const blockSize = weights.length / given.length
  const exact = new Float32Array(given.length)
  // For each block: Σwq and Σq² of the codes that gave the scale `exact`, and the squared error with the given scale, without Σw², which all scales share.
  const products = new Float64Array(given.length)
  const squares = new Float64Array(given.length)
  const errors = new Float64Array(given.length)
  const sums = new Float64Array(6)
  for (let block = 0, at = 0; block < given.length; block++, at += blockSize) {
    const scale = given[block] as number
    if (!(Math.abs(scale) >= leastNormal) || !Number.isFinite(scale)) continue
    addProducts(weights, at, at + blockSize, scale, sums)
    let a = sums[0] as number
    let b = sums[1] as number
    errors[block] = scale * scale * (b - 2 * a)
    // The larger (Σwq)² / Σq², the smaller the squared error.
    for (let tried = 2; tried < 6; tried += 2) {
      const product = sums[tried] as number
      const square = sums[tried + 1] as number
      if (product * product * b > a * a * square) {
        a = product
        b = square
      }
    }
    exact[block] = (scale * a) / b
    products[block] = scale * a
    squares[block] = b
  }
  const scales = float32ToFloat16(exact)
  const rounded = float16ToFloat32(scales)
  for (let block = 0; block < scales.length; block++) {
    const scale = rounded[block] as number
    const error = scale * (scale * (squares[block] as number) - 2 * (products[block] as number))
    // If the error is NaN, the comparison is false, and the block keeps its scale of `byRange`.
    if (!(scale !== 0 && error < (errors[block] as number))) scales[block] = byRange[block] as number
  }
  return scales
}

/** The smallest normal number of float16. */
const leastNormal = 2 ** -14

/** A float64 of this size has no fraction: adding and subtracting it rounds to the nearest integer, in a third of the time of a conversion to int32. */
const noFraction = 1.5 * 2 ** 52

/** Writes Σwq / scale and Σq² of a block for each of the three tried scales into `sums`. */
function addProducts(weights: Float32Array, begin: number, end: number, scale: number, sums: Float64Array): void {
  const inverse = 1 / scale
  let a0 = 0
  let b0 = 0
  let a1 = 0
  let b1 = 0
  let a2 = 0
  let b2 = 0
  for (let i = begin; i < end; i++) {
    const weight = (weights[i] as number) * inverse
    // The weight of largest magnitude has the code −8, −7.2 or −8.8 before rounding, so only the codes clamped here can be out of range.
    let code = weight + noFraction - noFraction
    if (code > 7) code = 7
    a0 += weight * code
    b0 += code * code
    code = weight * wider + noFraction - noFraction
    a1 += weight * code
    b1 += code * code
    code = weight * narrower + noFraction - noFraction
    if (code > 7) code = 7
    else if (code < -8) code = -8
    a2 += weight * code
    b2 += code * code
  }
  sums[0] = a0
  sums[1] = b0
  sums[2] = a1
  sums[3] = b1
  sums[4] = a2
  sums[5] = b2
}
