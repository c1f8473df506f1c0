/** The ways in which an autoencoder can process an image: whole, or in tiles. */

import type { AutoencoderModel, Extent } from '../models/types.js'

/** The edge of the smallest tiles that are used to save memory, in latent pixels. Smaller tiles are visible in the image. */
export const smallestTile = 32

/**
 * The ways to process an image of this size in latent pixels, the best one first: undefined is the whole image, a number is the edge of tiles.
 * With `tiling` true the largest tiles are diffusers'; without a value tiles only save memory and are not smaller than {@link smallestTile}.
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
