/** Computes from their graphs how much GPU memory the networks of a pipeline need: the input of a memory plan. Loads nothing. */

import { matchWeights } from '../../models/match-weights.js'
import type { AutoencoderModel, DenoiserModel, Extent, GraphVariant, NetworkModel, RunSize } from '../../models/types.js'
import type { ComponentGraph, WriteOptions, Shapes } from '../../onnx/types.js'
import { bufferOf, needsOf, runNeedsOf, type ComponentNeeds, type RunNeeds, type Sized } from '../../memory/needs.js'
import type { MemoryPlan } from '../../memory/plan.js'
import type { Device } from '../../runtime/device.js'
import { graphOptions, hasRole, type Network } from '../bind-network.js'
import { tileChoices, usualLatents } from '../latent-geometry.js'
import type { DTypeName, GenerateOptions } from '../types.js'

/** The part of a network that its needs depend on. */
type PlannedNetwork<Model extends NetworkModel = NetworkModel> = Pick<Network<Model>, 'name' | 'model' | 'table'>
type GraphOptions = Omit<WriteOptions, 'weights' | 'granularity'>

/** The properties of a generation that determine its memory. Sizes are in latent pixels. */
export interface GenerationSize extends RunSize {
  /** Whether the autoencoder encodes images before the first step: the start image, or the references. Default false. */
  readonly fromImage?: boolean | undefined
  /** Whether skip-layer guidance adds a prediction for the prompt, without the negative prompt. Default false. */
  readonly skipsLayers?: boolean | undefined
}

/** The size of a generation with these options, for latents of this size. */
export function generationSize(
  { width, height }: Extent,
  options: Pick<GenerateOptions, 'numImagesPerPrompt' | 'maxSequenceLength' | 'skipGuidanceLayers'>,
  guided: boolean,
  fromImage: boolean,
  references: readonly Extent[] = [],
): GenerationSize {
  const { numImagesPerPrompt: images, maxSequenceLength, skipGuidanceLayers = [] } = options
  return {
    width,
    height,
    images,
    maxSequenceLength,
    guided,
    fromImage,
    references,
    skipsLayers: guided && skipGuidanceLayers.length > 0,
  }
}

/** A network's needs for inputs of these shapes. @throws InputError for shapes that it does not take; CheckpointError for weights that do not match */
export function networkNeeds(
  network: PlannedNetwork,
  shapes: Shapes,
  options: GraphOptions,
  variant: GraphVariant = {},
): ComponentNeeds {
  return needsOf(network.name, boundGraph(network, shapes, options, variant), network.table)
}

function boundGraph(
  { model, table }: PlannedNetwork,
  shapes: Shapes,
  options: GraphOptions,
  variant: GraphVariant,
): ComponentGraph {
  const graph = model.write(shapes, { ...options, weights: 'input', granularity: 'block' }, variant)
  return matchWeights(model, [graph], table).graphs[0] ?? graph
}

/**
 * The needs of the decoder or the encoder for an image of this size in latent pixels, whole and in tiles of each possible size.
 * @throws as {@link networkNeeds}
 */
export function autoencoderNeeds(
  vae: PlannedNetwork<AutoencoderModel>,
  size: Extent,
  options: GraphOptions,
  vaeTiling: boolean | undefined,
  part?: 'encoder',
): ComponentNeeds {
  const ways = tileChoices(vae.model, size, vaeTiling).map((tile): readonly [ComponentGraph, RunNeeds] => {
    const edge = tile ?? Number.POSITIVE_INFINITY
    const shapes = vae.model.shapes({ height: Math.min(edge, size.height), width: Math.min(edge, size.width) }, { part })
    const graph = boundGraph(vae, shapes, options, { part })
    return [graph, { ...runNeedsOf(graph), ...(tile === undefined ? {} : { tile }) }]
  })
  const [[graph] = []] = ways
  if (graph === undefined) throw new TypeError('There is no size of tiles for the autoencoder.')
  const needs = { ...needsOf(vae.name, graph, vae.table), ways: ways.map(([, way]) => way) }
  return part === undefined ? needs : { ...needs, part }
}

/** The part of a device that plans depend on: of an open device, or of one that is only described. */
export type PlannedDevice = Pick<Device, 'info' | 'writeOptions'>

/** Networks, the device that some of them run on, and the generation to plan. */
export interface NeedsRequest {
  readonly device: PlannedDevice
  readonly networks: ReadonlyMap<string, Network>
  /** Whether a network is on the device. */
  readonly here: (network: string) => boolean
  /** The type in which a network computes unless it has a type of its own. */
  readonly dtype: DTypeName
  readonly vaeTiling: boolean | undefined
  readonly size: GenerationSize
}

/** The needs of the networks on a device, in the order in which they run. @throws as {@link networkNeeds} */
export function needsOn({ device, networks, here, dtype, vaeTiling, size }: NeedsRequest): ComponentNeeds[] {
  const denoiser = denoiserOf(networks)?.name
  const needs: ComponentNeeds[] = []
  const add = (network: Network, part?: 'encoder') => {
    if (!here(network.name)) return
    const options = graphOptions(network, { device, dtype, granularity: 'block' })
    const own = hasRole(network, 'autoencoder')
      ? autoencoderNeeds(network, part === undefined ? size : encodedSize(size), options, vaeTiling, part)
      : networkNeeds(network, network.model.shapes(size), options)
    needs.push(own)
  }
  const vae = autoencoderOf(networks)
  for (const network of networks.values()) {
    // The start image or the reference images are encoded after the prompt and before the first step.
    if (network.name === denoiser && size.fromImage === true && vae !== undefined) add(vae, 'encoder')
    add(network)
  }
  return needs
}

/**
 * The graphs that a generation runs on the device, each with its network, in the order in which they run. Those of the autoencoder have the tile
 * size of the memory plan.
 * @throws as {@link networkNeeds}
 */
export function graphsOn(
  { device, networks, dtype, size }: NeedsRequest,
  { components }: MemoryPlan,
): readonly (readonly [owner: string, graph: ComponentGraph])[] {
  return components.flatMap(({ name, part, tile = Number.POSITIVE_INFINITY }) => {
    const network = networks.get(name)
    if (network === undefined) return []
    const options = graphOptions(network, { device, dtype, granularity: 'block' })
    const graphFor = (shapes: Shapes) => [name, boundGraph(network, shapes, options, { part })] as const
    if (hasRole(network, 'autoencoder')) {
      const { height, width } = part === undefined ? size : encodedSize(size)
      return [graphFor(network.model.shapes({ height: Math.min(tile, height), width: Math.min(tile, width) }, { part }))]
    }
    // Skip-layer guidance adds a prediction for the prompt, without the negative prompt, in which some blocks are left out.
    const sizes = hasRole(network, 'denoiser') && size.skipsLayers === true ? [size, { ...size, guided: false }] : [size]
    return sizes.map((one) => graphFor(network.model.shapes(one)))
  })
}

/** The size of the largest image that the autoencoder encodes: of the reference images, or of the start image, which is as large as the result. */
function encodedSize({ references = [], ...size }: GenerationSize): Extent {
  return references.toSorted((a, b) => b.height * b.width - a.height * a.width)[0] ?? size
}

/** The needs of a network on the CPU, without activations: the CPU's memory account counts weights only, which are the same for tiles of any size. */
export function weightsOnly(needs: ComponentNeeds, way: RunNeeds | undefined = needs.ways[0]): ComponentNeeds {
  const nothing = { activationBytes: 0, largestValue: { name: '', bytes: 0 }, inputs: [] }
  return { ...needs, ways: [{ ...nothing, tile: way?.tile }] }
}

/**
 * Bytes that stay on a device besides the network that runs: {@link heldBytes} on the denoiser's device; two copies of the latents on a
 * device that has the autoencoder's decoder but not the denoiser; otherwise nothing. Also nothing on the CPU, whose account counts weights
 * only. `needs` are those of the networks on the device.
 */
export function heldOn(
  { device, networks, size }: Pick<NeedsRequest, 'device' | 'networks' | 'size'>,
  needs: readonly ComponentNeeds[],
): number {
  const denoiser = denoiserOf(networks)
  const vae = autoencoderOf(networks)
  if (!device.info.capabilities.countsActivations || denoiser === undefined) return 0
  const own = needs.find(({ name }) => name === denoiser.name)
  if (own !== undefined) return heldBytes(own, denoiser.model, size)
  const shapes = denoiser.model.shapes({ ...size, guided: false })
  const latents = bufferOf({ type: 'float32', dims: shapes[denoiser.model.latents.input] ?? [] })
  // The autoencoder's device gets a copy of all latents, and a copy of the latents of the image or tile that is being decoded.
  return needs.some(({ name, part }) => name === vae?.name && part === undefined) ? 2 * latents : 0
}

/** The size of latents that the denoiser was trained for, or the nearest that can be generated. */
export function latentSize(networks: ReadonlyMap<string, Network>): GenerationSize {
  const denoiser = denoiserOf(networks)
  if (denoiser === undefined) return { width: 64, height: 64 }
  return usualLatents(denoiser.model.latents, autoencoderOf(networks)?.model.scaleFactor ?? 8)
}

/** The denoiser. Networks without a compute type of their own use its type. */
export function denoiserOf(networks: ReadonlyMap<string, Network>): Network<DenoiserModel> | undefined {
  return [...networks.values()].find((network) => hasRole(network, 'denoiser'))
}

/** The autoencoder. */
export function autoencoderOf(networks: ReadonlyMap<string, Network>): Network<AutoencoderModel> | undefined {
  return [...networks.values()].find((network) => hasRole(network, 'autoencoder'))
}

/** The most arrays of latents that a scheduler keeps from step to step (PNDM's Runge–Kutta steps). */
export const mostKeptLatents = 5

/**
 * Bytes that stay on the denoiser's GPU besides the network that runs: the denoiser's inputs, made after the text encoders have run; the
 * latents, and the copies of latents that the scheduler keeps; and, with skip-layer guidance, a copy of the prompt's inputs without those
 * of the negative prompt.
 */
export function heldBytes(
  { ways }: ComponentNeeds,
  { latents, promptInputs, shapes }: Pick<DenoiserModel, 'latents' | 'promptInputs' | 'shapes'>,
  size: GenerationSize,
): number {
  const inputs = ways[0]?.inputs ?? []
  const latentBytes = bufferOf({ type: 'float32', dims: shapes({ ...size, guided: false })[latents.input] ?? [] })
  const promptBytes = bytesOf(inputs.filter(({ name }) => promptInputs.includes(name)))
  return bytesOf(inputs) + (1 + mostKeptLatents) * latentBytes + (size.skipsLayers === true ? promptBytes / 2 : 0)
}

function bytesOf(values: readonly Sized[]): number {
  return values.reduce((sum, { bytes }) => sum + bytes, 0)
}
