/**
 * The cosines and sines of rotary position embeddings (arXiv 2104.09864), which are functions of the tokens' positions alone. The host computes them,
 * because WGSL guarantees little precision for the sine of a large number. rotary-embedding.ts applies them.
 */

import type { HostInput } from '../types.js'

/** How a network turns positions into angles. */
export interface RotarySettings {
  /**
   * For each axis of the positions: the number of a head's values that it rotates. The numbers are even and add up to the size of a head.
   */
  readonly axes: readonly number[]
  /** The base of the frequencies. Position p turns pair i of an axis of n values by p · theta^(−2i/n). */
  readonly theta: number
  /**
   * Where diffusers or transformers rounds to float32. `cosines` (default): only the cosines and sines, as in FLUX. `angles`: the
   * angles too, as in Z-Image. `all`: also the frequencies, as in the language models of transformers.
   */
  readonly rounded?: 'cosines' | 'angles' | 'all' | undefined
}

/** The cosine and sine of each token's angles, [tokens, size / 2] with the axes side by side. */
export interface RotaryTables {
  readonly cos: HostInput
  readonly sin: HostInput
}

/** Computes the tables for positions [tokens, axes], flat. */
export function rotaryTables(positions: ArrayLike<number>, { axes, theta, rounded = 'cosines' }: RotarySettings): RotaryTables {
  const tokens = positions.length / axes.length
  const pairs = axes.reduce((sum, width) => sum + width / 2, 0)
  const frequencies = axes.flatMap((width, axis) =>
    Array.from({ length: width / 2 }, (_, pair) => ({ axis, frequency: frequency(pair, width, theta, rounded === 'all') })),
  )
  const cos = new Float32Array(tokens * pairs)
  const sin = new Float32Array(tokens * pairs)
  for (let token = 0; token < tokens; token++) {
    for (const [pair, { axis, frequency }] of frequencies.entries()) {
      const product = (positions[token * axes.length + axis] ?? 0) * frequency
      const angle = rounded === 'cosines' ? product : Math.fround(product)
      cos[token * pairs + pair] = Math.cos(angle)
      sin[token * pairs + pair] = Math.sin(angle)
    }
  }
  const dims = [tokens, pairs]
  return { cos: { dims, data: cos }, sin: { dims, data: sin } }
}

function frequency(pair: number, width: number, theta: number, rounded: boolean): number {
  if (!rounded) return 1 / theta ** ((2 * pair) / width)
  return Math.fround(1 / Math.fround(theta ** Math.fround((2 * pair) / width)))
}

/** The positions `first`, `first` + 1, … of tokens on one axis. */
export function countedPositions(tokens: number, first = 0): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length: tokens }, (_, token) => first + token)
}

/**
 * Positions [rows · columns, 3] of the tokens of an image, row by row. Each position is `first`, the row and the column; rows count from
 * `top`, columns from `left`.
 */
export function imagePositions(
  { rows, columns }: { readonly rows: number; readonly columns: number },
  { first = 0, top = 0, left = 0 }: { readonly first?: number; readonly top?: number; readonly left?: number } = {},
): Float32Array<ArrayBuffer> {
  const positions = new Float32Array(rows * columns * 3)
  for (let token = 0; token < rows * columns; token++)
    positions.set([first, top + Math.floor(token / columns), left + (token % columns)], token * 3)
  return positions
}
