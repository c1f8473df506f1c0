/** How an autoencoder can work on an image: as a whole or in tiles. */

import type { AutoencoderModel, Extent } from '../models/types.js'

/** The smallest tile that is taken for want of memory, in latent pixels. Smaller ones show in the image. */
export const smallestTile = 32

/**
 * How an autoencoder can work on an image of this size in latent pixels, the best first: undefined stands for the whole, a number is the
 * edge of tiles. Where `tiling` asks for tiles they are diffusers'; else tiles are for want of memory, and none is below {@link smallestTile}.
 */
export function tileChoices(
  { tile: made }: Pick<AutoencoderModel, 'tile'>,
  { height, width }: Extent,
  tiling: boolean | undefined,
): (number | undefined)[] {
  const longest = Math.max(height, width)
  if (tiling === false) return [undefined]
  const edges = [tiling === true ? made : Math.max(made, smallestTile)]
  for (let edge = made; edge > smallestTile;) {
    edge = Math.max(smallestTile, Math.floor(edge / 8) * 4)
    edges.push(edge)
  }
  const tiles = edges.filter((edge) => edge < longest)
  return tiling === true && made < longest ? tiles : [undefined, ...tiles]
}
