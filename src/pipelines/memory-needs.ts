/** What the networks of a pipeline ask of a GPU's memory, from their graphs: the input of the runtime's plans. Nothing is loaded. */

import { matchWeights } from '../models/match-weights.js'
import type { ComponentGraph, WriteOptions } from '../onnx/types.js'
import { valueBytes } from '../runtime/convert.js'
import { storageBytes } from '../runtime/gpu-buffers.js'
import { needsOf, type ComponentNeeds } from '../runtime/memory-estimate.js'
import type { Shapes } from '../runtime/types.js'
import { probeShapes, writeGraph, type GraphVariant, type Network } from './networks.js'

/** The smallest tile that an autoencoder decodes to fit, in latent pixels. Smaller ones show in the image. */
export const smallestTile = 32

/** A network's needs for inputs of these shapes. @throws as writing its graph and matching its weights */
export function networkNeeds(
  network: Pick<Network, 'name' | 'className' | 'config' | 'table'>,
  shapes: Shapes,
  options: Omit<WriteOptions, 'weights' | 'granularity'>,
  variant: GraphVariant = {},
): ComponentNeeds {
  const { name, className, config, table } = network
  const bind = (asked: Shapes): ComponentGraph => {
    const graph = writeGraph(className, config, asked, { ...options, weights: 'input', granularity: 'block' }, variant)
    return matchWeights(className, [graph], table).graphs[0] ?? graph
  }
  const [batch = 1, channels = 4, height = 0, width = 0] = shapes['latents'] ?? []
  const canTile = className === 'AutoencoderKL' && Math.max(height, width) > smallestTile
  const tile = [batch, channels, Math.min(height, smallestTile), Math.min(width, smallestTile)]
  return needsOf(name, bind(shapes), table, canTile ? bind({ latents: tile }) : undefined)
}

/** The shapes of a run: both halves of guidance at once in the denoiser, one text and one image at a time elsewhere. Latent pixels. */
export function runShapes(
  { className, config }: Pick<Network, 'className' | 'config'>,
  { width, height }: { readonly width: number; readonly height: number },
): Shapes {
  const resized = Object.entries(probeShapes(className, config)).map(([name, dims]) => {
    const isImage = name === 'sample' || name === 'hidden_states' || name === 'latents'
    return [name, isImage ? [...dims.slice(0, 2), height, width] : dims] as const
  })
  return Object.fromEntries(resized)
}

/**
 * Bytes that stay on a GPU beside the network that runs: prompt embeddings until the denoiser is done with them, then latents. Counted as
 * the denoiser takes them, for both halves of guidance. Latent pixels.
 */
export function heldBytes(
  networks: readonly Pick<Network, 'name' | 'className' | 'config'>[],
  size: { readonly width: number; readonly height: number },
): number {
  const denoiser = networks.find(({ name }) => name === 'unet' || name === 'transformer')
  if (denoiser === undefined) return 0
  return Object.values(runShapes(denoiser, size)).reduce((sum, dims) => sum + storageBytes(valueBytes('float32', dims)), 0)
}
