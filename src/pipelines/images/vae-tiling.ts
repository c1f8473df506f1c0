import type { Extent, TileJoint } from '../../models/types.js'
import { tileStep } from '../latent-geometry.js'
import type { PlainTensor } from '../types.js'

/** A rectangle of the input, in pixels of the input. */
export interface Box extends Extent {
  readonly top: number
  readonly left: number
}

/** Edges of a tile, in pixels of the input and of the output. Their ratio is the autoencoder's scale. */
export interface TileEdges {
  readonly from: number
  readonly to: number
}

/** Computes the result of one tile, [1, channels, height, width], in pixels of the output. */
export type WorkOnBox = (box: Box) => Promise<PlainTensor>

/** Applies `work` to overlapping tiles of an input of `height` × `width`, and blends the results as diffusers does for the autoencoder's class. */
export function workInTiles(size: Extent, edges: TileEdges, joint: TileJoint, work: WorkOnBox): Promise<PlainTensor> {
  return (joint === 'fading' ? fadingTiles : coveringTiles)(size, edges, work)
}

/** AutoencoderKL's tiles. */
async function fadingTiles({ height, width }: Extent, { from, to }: TileEdges, work: WorkOnBox): Promise<PlainTensor> {
  const stride = tileStep(from, 'fading')
  const kept = tileStep(to, 'fading')
  const extent = to - kept
  const [rows, columns] = [(height * to) / from, (width * to) / from]
  let result: PlainTensor | undefined
  let above: PlainTensor[] = []
  for (let top = 0, row = 0; top < height; top += stride, row++) {
    const current: PlainTensor[] = []
    for (let left = 0, column = 0; left < width; left += stride, column++) {
      const made = await work({ top, left, height: Math.min(from, height - top), width: Math.min(from, width - left) })
      const [, channels = 0] = made.dims
      // As in diffusers, the tiles above and on the left are already blended with their own neighbours.
      const over = above[column]
      if (over !== undefined) blendRows(over, made, extent)
      const before = current[column - 1]
      if (before !== undefined) blendColumns(before, made, extent)
      current.push(made)
      result ??= { dims: [1, channels, rows, columns], data: new Float32Array(channels * rows * columns) }
      paste(made, result, row * kept, column * kept, kept)
    }
    above = current
  }
  if (result === undefined) throw new RangeError('The input of the autoencoder has no pixels')
  return result
}

/** AutoencoderTiny's tiles: each fades in at its top and left edge, over the earlier tiles. */
async function coveringTiles({ height, width }: Extent, { from, to }: TileEdges, work: WorkOnBox): Promise<PlainTensor> {
  const stride = tileStep(from, 'covering')
  const scale = to / from
  const extent = (from - stride) * scale
  const share = (isFirst: boolean, index: number) => (isFirst ? 1 : Math.min(1, index / (extent - 1)))
  const [rows, columns] = [height * scale, width * scale]
  let result: PlainTensor | undefined
  for (let top = 0; top < height; top += stride) {
    for (let left = 0; left < width; left += stride) {
      const { dims, data } = await work({ top, left, height: Math.min(from, height - top), width: Math.min(from, width - left) })
      const [, channels = 0, tileRows = 0, tileColumns = 0] = dims
      result ??= { dims: [1, channels, rows, columns], data: new Float32Array(channels * rows * columns) }
      for (let line = 0; line < channels * tileRows; line++) {
        const y = line % tileRows
        const begin = (Math.floor(line / tileRows) * rows + top * scale + y) * columns + left * scale
        for (let x = 0; x < tileColumns; x++) {
          const mask = share(top === 0, y) * share(left === 0, x)
          result.data[begin + x] = fade(result.data[begin + x], data[line * tileColumns + x], mask)
        }
      }
    }
  }
  if (result === undefined) throw new RangeError('There is nothing to work on')
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

/** Copies the top left part of a tile to its place in the result: `kept` × `kept` pixels, or fewer at the image's edge. */
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
