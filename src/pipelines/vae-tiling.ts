/**
 * Decoding latents in overlapping tiles whose seams are blended, as AutoencoderKL's `tiled_decode` does: less memory for large images.
 * Each tile's norms see only the tile, so the image differs a little from one decoded whole. Pure but for the decoder it is handed.
 */

import type { Config } from '../checkpoint/types.js'
import { autoencoderKLScale } from '../models/autoencoder-kl.js'
import type { PlainTensor } from './types.js'

/** Edge of the tiles that diffusers decodes in, in latent pixels: the size that the autoencoder was made for. */
export function autoencoderKLTile(config: Config): number {
  const size: unknown = Array.isArray(config['sample_size']) ? config['sample_size'][0] : config['sample_size']
  const pixels = typeof size === 'number' && Number.isInteger(size) && size > 0 ? size : 32
  return Math.max(1, Math.floor(pixels / autoencoderKLScale(config)))
}

/** How much of a tile overlaps the next one: diffusers' `tile_overlap_factor`. */
const overlap = 0.25

/** A part of latents, in latent pixels. */
export interface LatentBox {
  readonly top: number
  readonly left: number
  readonly height: number
  readonly width: number
}

/** Decodes a part of an image's latents to [1, channels, height · factor, width · factor]. */
export type DecodeBox = (box: LatentBox) => Promise<PlainTensor>

/** Decodes latents of `height` × `width` in tiles of `tile` latent pixels, `factor` image pixels each. */
export async function decodeTiled(
  { height, width }: Pick<LatentBox, 'height' | 'width'>,
  tile: number,
  factor: number,
  decode: DecodeBox,
): Promise<PlainTensor> {
  const stride = Math.max(1, Math.floor(tile * (1 - overlap)))
  const extent = Math.floor(tile * factor * overlap)
  const kept = tile * factor - extent
  let result: PlainTensor | undefined
  let above: PlainTensor[] = []
  for (let top = 0, row = 0; top < height; top += stride, row++) {
    const current: PlainTensor[] = []
    for (let left = 0, column = 0; left < width; left += stride, column++) {
      const decoded = await decode({ top, left, height: Math.min(tile, height - top), width: Math.min(tile, width - left) })
      const [, channels = 0] = decoded.dims
      // The neighbours were blended themselves before: the order is diffusers'.
      const over = above[column]
      if (over !== undefined) blendRows(over, decoded, extent)
      const before = current[column - 1]
      if (before !== undefined) blendColumns(before, decoded, extent)
      current.push(decoded)
      result ??= {
        dims: [1, channels, height * factor, width * factor],
        data: new Float32Array(channels * height * width * factor ** 2),
      }
      paste(decoded, result, row * kept, column * kept, kept)
    }
    above = current
  }
  if (result === undefined) throw new RangeError('There are no latents to decode')
  return result
}

/** Fades from the last rows of the tile above into the first rows of `tile`. */
function blendRows(above: PlainTensor, tile: PlainTensor, extent: number): void {
  const [, channels = 0, rows = 0, columns = 0] = tile.dims
  const rowsAbove = above.dims[2] ?? 0
  const columnsAbove = above.dims[3] ?? 0
  const most = Math.min(rowsAbove, rows, extent)
  for (let channel = 0; channel < channels; channel++) {
    for (let y = 0; y < most; y++) {
      const from = (channel * rowsAbove + rowsAbove - most + y) * columnsAbove
      const to = (channel * rows + y) * columns
      for (let x = 0; x < columns; x++) tile.data[to + x] = fade(above.data[from + x], tile.data[to + x], y / most)
    }
  }
}

/** Fades from the last columns of the tile on the left into the first columns of `tile`. */
function blendColumns(left: PlainTensor, tile: PlainTensor, extent: number): void {
  const [, channels = 0, rows = 0, columns = 0] = tile.dims
  const columnsLeft = left.dims[3] ?? 0
  const most = Math.min(columnsLeft, columns, extent)
  for (let line = 0; line < channels * rows; line++) {
    const from = line * columnsLeft + columnsLeft - most
    const to = line * columns
    for (let x = 0; x < most; x++) tile.data[to + x] = fade(left.data[from + x], tile.data[to + x], x / most)
  }
}

function fade(from: number | undefined, to: number | undefined, share: number): number {
  return (from ?? 0) * (1 - share) + (to ?? 0) * share
}

/** Copies the top left `kept`² of a tile, or what there is of it, to its place. */
function paste(tile: PlainTensor, into: PlainTensor, top: number, left: number, kept: number): void {
  const [, channels = 0, tileRows = 0, tileColumns = 0] = tile.dims
  const [, , rows = 0, columns = 0] = into.dims
  const width = Math.min(kept, tileColumns, columns - left)
  if (width <= 0) return
  for (let channel = 0; channel < channels; channel++) {
    for (let y = 0; y < Math.min(kept, tileRows, rows - top); y++) {
      const from = (channel * tileRows + y) * tileColumns
      into.data.set(tile.data.subarray(from, from + width), (channel * rows + top + y) * columns + left)
    }
  }
}
