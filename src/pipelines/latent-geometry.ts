/** Sizes of latents: the usual one of a pipeline, and the ways in which an autoencoder can process an image: whole, or in tiles. */

import type { AutoencoderModel, DenoiserModel, Extent, TileJoint } from '../models/types.js'

/** Edge of the largest image, in pixels. */
export const maxImageEdge = 8192

/**
 * The size that a denoiser was trained for, in latent pixels, or the nearest size that can be generated: whole patches, and an image of at most
 * {@link maxImageEdge} pixels along an edge. `scaleFactor`: the autoencoder's.
 */
export function usualLatents({ sampleSize, patch }: DenoiserModel['latents'], scaleFactor: number): Extent {
  const most = Math.floor(maxImageEdge / (scaleFactor * patch))
  // Rounds down to whole patches, as diffusers advises for a size that is not a multiple of the patch.
  const edge = (value: number) => Math.min(most, Math.max(1, Math.floor(value / patch))) * patch
  return { height: edge(sampleSize.height), width: edge(sampleSize.width) }
}

/** The edge of the smallest tiles that are used to save memory, in latent pixels. Smaller tiles are visible in the image. */
export const smallestTile = 32

/**
 * The ways to process an image of this size, the best one first: undefined is the whole image, a number is the edge of tiles. Size and
 * edges are in latent pixels. `tiling` true: the largest tiles are those of diffusers. `tiling` false: no tiles. `tiling` undefined:
 * tiles are only used to save memory. Tiles that save memory are not smaller than {@link smallestTile}, or than the autoencoder's own
 * `smallestTile`.
 */
export function tileChoices(
  { tile, tileJoint, smallestTile: least = smallestTile }: Pick<AutoencoderModel, 'tile' | 'tileJoint' | 'smallestTile'>,
  { height, width }: Extent,
  tiling: boolean | undefined,
): (number | undefined)[] {
  const longest = Math.max(height, width)
  if (tiling === false) return [undefined]
  // A quarter of a tile's edge must be a whole number of latent pixels. Otherwise tiles are joined at wrong places, and diffusers' image
  // has another size.
  const made = tileJoint === 'fading' ? Math.max(4, tile - (tile % 4)) : tile
  // The largest edge that diffusers processes whole. With covering tiles, another tile begins after each step, even if the first one
  // contains the whole image.
  const whole = tileJoint === 'fading' ? Math.max(tile, made) : tileStep(made, tileJoint)
  const edges = [tiling === true ? made : Math.max(made, least)]
  for (let edge = made; edge > least;) {
    edge = Math.max(least, Math.floor(edge / 8) * 4)
    edges.push(edge)
  }
  const isTiled = tiling === true && whole < longest
  const tiles = edges.filter((edge, i) => edge < longest || (isTiled && i === 0))
  return isTiled ? tiles : [undefined, ...tiles]
}

/** The distance between the beginnings of two neighbouring tiles, in the unit of `edge`. */
export function tileStep(edge: number, joint: TileJoint): number {
  return Math.max(1, edge - Math.floor(edge / (joint === 'fading' ? 4 : 8)))
}
