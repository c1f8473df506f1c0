/**
 * The sequences of Z-Image's transformer, as diffusers' `patchify_and_embed` and `_prepare_sequence` make them: how many tokens an image
 * and a prompt have with their padding, the position of each token, and which of them are padding.
 */

import { InputError } from '../../errors.js'
import { imagePositions, rotaryTables } from '../layers/rotary-tables.js'
import { checkShape } from '../layers/shape.js'
import type { Extent, HostInput } from '../types.js'
import { zImagePatch, type ZImageConfig } from './transformer-z-image-config.js'

/** Sequences are padded to a multiple of this. */
const multiple = 32

/** How many tokens a sequence has with its padding. */
export function paddedLength(tokens: number): number {
  return Math.ceil(tokens / multiple) * multiple
}

/**
 * Counts the tokens of an image whose size is in latent pixels. `rows`, `columns`: the patches along each side. `tokens`: with padding.
 * @throws InputError `invalid-shape`
 */
export function imageTokens(
  { positions: [, rows = 0, columns = 0] }: Pick<ZImageConfig, 'positions'>,
  { height, width }: Extent,
): { readonly rows: number; readonly columns: number; readonly tokens: number } {
  const { edge } = zImagePatch
  checkShape({ height, width }, { height: rows * edge, width: columns * edge })
  for (const [key, value] of Object.entries({ height, width })) {
    if (value % edge === 0) continue
    throw new InputError('invalid-shape', `${key} is ${value}; allowed: multiples of the patch size ${edge}`, {
      key,
      value,
      multipleOf: edge,
    })
  }
  const size = { rows: height / edge, columns: width / edge }
  return { ...size, tokens: paddedLength(size.rows * size.columns) }
}

/**
 * The inputs of the transformer that depend on the image's size (in latent pixels) and on the number of tokens of each row's prompt:
 * `text_pads`, `rotary_cos` and `rotary_sin`. If the padded lengths of the prompts differ, also `encoder_attention_mask`.
 * The positions of a prompt begin at 1 and continue through its padding. On the first axis, all tokens of an image have the position after
 * the last one of its prompt. The padding of an image is at 0 on all axes.
 * @throws InputError `invalid-shape`
 */
export function zImageSequences(
  config: Pick<ZImageConfig, 'positions' | 'axes' | 'theta'>,
  size: Extent,
  lengths: readonly number[],
): Readonly<Record<string, HostInput>> {
  const { rows, columns, tokens } = imageTokens(config, size)
  const padded = lengths.map(paddedLength)
  const textTokens = Math.max(...padded)
  checkShape({ prompt: textTokens + 1 }, { prompt: (config.positions[0] ?? 1) - 1 })
  const batch = lengths.length
  const pads = new Float32Array(batch * textTokens)
  const mask = new Float32Array(batch * textTokens)
  const positions = new Float32Array(batch * (tokens + textTokens) * 3)
  for (const [row, length] of lengths.entries()) {
    const own = padded[row] ?? 0
    pads.fill(1, row * textTokens + length, row * textTokens + own)
    mask.fill(1, row * textTokens, row * textTokens + own)
    const begin = row * (tokens + textTokens) * 3
    positions.set(imagePositions({ rows, columns }, { first: own + 1 }), begin)
    for (let token = 0; token < textTokens; token++) positions[begin + (tokens + token) * 3] = token + 1
  }
  const { cos, sin } = rotaryTables(positions, { axes: config.axes, theta: config.theta, rounded: 'angles' })
  const [, pairs = 0] = cos.dims
  const text = (data: HostInput['data']): HostInput => ({ dims: [batch, textTokens], data })
  return {
    text_pads: text(pads),
    rotary_cos: { dims: [batch, tokens + textTokens, pairs], data: cos.data },
    rotary_sin: { dims: [batch, tokens + textTokens, pairs], data: sin.data },
    ...(new Set(padded).size > 1 ? { encoder_attention_mask: text(mask) } : {}),
  }
}
