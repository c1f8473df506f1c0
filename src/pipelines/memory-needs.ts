/** What the networks of a pipeline ask of a GPU's memory, from their graphs: the input of the runtime's plans. Nothing is loaded. */

import { matchWeights } from '../models/match-weights.js'
import type { ComponentGraph, WriteOptions } from '../onnx/types.js'
import { valueBytes } from '../runtime/convert.js'
import { storageBytes } from '../runtime/gpu-buffers.js'
import { needsOf, type ComponentNeeds } from '../runtime/memory-estimate.js'
import type { Device, Shapes } from '../runtime/types.js'
import { graphOptions, probeShapes, usualT5Tokens, writeGraph, type GraphVariant, type Network } from './networks.js'
import { sampleSize } from './sample-size.js'
import type { DTypeName } from './types.js'

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

/** What of a generation decides how much memory it takes. */
export interface GenerationSize {
  /** Latent pixels. */
  readonly width: number
  readonly height: number
  /** How many are made at once; 1 unless said. */
  readonly images?: number | undefined
  /** Tokens that T5 is given; {@link usualT5Tokens} unless said. */
  readonly t5Tokens?: number | undefined
}

/** The shapes of a run: both halves of guidance and all images at once in the denoiser, one text and one image at a time elsewhere. */
export function runShapes(
  { className, config }: Pick<Network, 'className' | 'config'>,
  { width, height, images = 1, t5Tokens = usualT5Tokens }: GenerationSize,
): Shapes {
  const isDenoiser = className === 'UNet2DConditionModel' || className === 'SD3Transformer2DModel'
  const resized = Object.entries(probeShapes(className, config, t5Tokens)).map(([name, dims]) => {
    const isImage = name === 'sample' || name === 'hidden_states' || name === 'latents'
    const [batch = 1, ...rest] = isImage ? [...dims.slice(0, 2), height, width] : dims
    return [name, [isDenoiser ? batch * images : batch, ...rest]] as const
  })
  return Object.fromEntries(resized)
}

/** A device as far as plans go: an open one, or one that is only described. */
export type PlannedDevice = Pick<Device, 'info' | 'writeOptions'>

/** What networks would take on a device, for latents of a size; by default the one that the denoiser was made for. */
export function needsOn(
  device: PlannedDevice,
  networks: ReadonlyMap<string, Network>,
  dtype: DTypeName,
  vaeTiling: boolean | undefined,
  latent: GenerationSize = latentSize(networks),
): ComponentNeeds[] {
  return [...networks.values()].map((network) => {
    const options = graphOptions(network, { device, dtype, granularity: 'block' })
    const needs = networkNeeds(network, runShapes(network, latent), options)
    const { name, blocks, sharedBytes, activationBytes } = needs
    // What the CPU's account counts is weights.
    if (device.info.kind === 'wasm') return { name, blocks, sharedBytes, activationBytes: 0 }
    return vaeTiling === false ? { name, blocks, sharedBytes, activationBytes } : needs
  })
}

/** What stays on a device beside the network that runs, for latents of a size. What the CPU's account counts is weights. */
export function heldOn(
  { info }: PlannedDevice,
  networks: ReadonlyMap<string, Network>,
  latent: GenerationSize = latentSize(networks),
): number {
  return info.kind === 'wasm' ? 0 : heldBytes([...networks.values()], latent)
}

/** The latents that the denoiser was made for. */
export function latentSize(networks: ReadonlyMap<string, Network>): GenerationSize {
  const denoiser = denoiserOf(networks)
  return denoiser === undefined ? { width: 64, height: 64 } : sampleSize(denoiser)
}

/** The network whose type the pipeline takes for its own, and whose blocks are streamed. */
export function denoiserOf(networks: ReadonlyMap<string, Network>): Network | undefined {
  return networks.get('unet') ?? networks.get('transformer')
}

/**
 * Bytes that stay on a GPU beside the network that runs: prompt embeddings until the denoiser is done with them, then latents. Counted as
 * the denoiser takes them, for both halves of guidance.
 */
export function heldBytes(networks: readonly Pick<Network, 'name' | 'className' | 'config'>[], size: GenerationSize): number {
  const denoiser = networks.find(({ name }) => name === 'unet' || name === 'transformer')
  if (denoiser === undefined) return 0
  return Object.values(runShapes(denoiser, size)).reduce((sum, dims) => sum + storageBytes(valueBytes('float32', dims)), 0)
}
