/** The tiles in which an autoencoder works in one generation. */

import type { AutoencoderModel, Extent } from '../../models/types.js'
import type { Network } from '../bind-network.js'
import type { ComponentHost } from '../execution/component-host.js'
import type { VaePart } from '../execution/host-plan.js'
import type { Run } from '../run.js'

/** Asks the autoencoder's host for the tile size, and warns the caller if a retry needs tiles, or smaller ones, unlike the first try. */
export class VaeTiles {
  readonly #vae: Network<AutoencoderModel>
  readonly #host: ComponentHost
  readonly #run: Run
  /** The edges of the tiles in the first try. */
  readonly #usual = new Map<VaePart, number | undefined>()

  constructor(vae: Network<AutoencoderModel>, host: ComponentHost, run: Run) {
    this.#vae = vae
    this.#host = host
    this.#run = run
  }

  /**
   * The edge of the tiles in which the autoencoder's encoder or decoder processes an image of this size; edge and size are in latent
   * pixels. Undefined: no tiles.
   */
  edge(part: VaePart, size: Extent): number | undefined {
    const tile = this.#host.vaeTile(this.#vae, size, part)
    if (!this.#usual.has(part)) this.#usual.set(part, tile)
    const usual = this.#usual.get(part)
    if (tile === undefined || tile === usual) return tile
    const wanted = usual === undefined ? 'as a whole' : `in tiles of ${usual} latent pixels`
    const message = `The image did not fit into memory ${wanted}; it is ${part === 'decoder' ? 'decoded' : 'encoded'} in tiles of ${tile} latent pixels.`
    this.#run.warn('vae-tiled', message, { once: true })
    return tile
  }
}
