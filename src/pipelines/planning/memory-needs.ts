/** What the networks of a pipeline ask of a GPU's memory, from their graphs: the input of the runtime's plans. Nothing is loaded. */

import { matchWeights } from '../../models/match-weights.js'
import type { AutoencoderModel, DenoiserModel, Extent, GraphVariant, NetworkModel, RunSize } from '../../models/types.js'
import type { ComponentGraph, WriteOptions, Shapes } from '../../onnx/types.js'
import { bufferOf, needsOf, runNeedsOf, type ComponentNeeds, type RunNeeds, type Sized } from '../../memory/needs.js'
import type { Device } from '../../runtime/device.js'
import { graphOptions, hasRole, type Network } from '../bind-network.js'
import { tileChoices } from '../latent-geometry.js'
import type { DTypeName, GenerateOptions } from '../types.js'

/** A network as far as needs go. */
type PlannedNetwork<Model extends NetworkModel = NetworkModel> = Pick<Network<Model>, 'name' | 'model' | 'table'>
type GraphOptions = Omit<WriteOptions, 'weights' | 'granularity'>

/** What of a generation decides how much memory it takes. Sizes are in latent pixels. */
export interface GenerationSize extends RunSize {
  /** Whether it starts from an image, which the autoencoder encodes. */
  readonly fromImage?: boolean | undefined
  /** Whether skip-layer guidance predicts once more from the prompt alone. */
  readonly skipsLayers?: boolean | undefined
}

/** What of a generation's options takes memory. `latent`: pixels of the latents. */
export function generationSize(
  { width, height }: Extent,
  options: Pick<GenerateOptions, 'numImagesPerPrompt' | 'maxSequenceLength' | 'skipGuidanceLayers'>,
  guided: boolean,
  fromImage: boolean,
): GenerationSize {
  const { numImagesPerPrompt: images, maxSequenceLength, skipGuidanceLayers = [] } = options
  return { width, height, images, maxSequenceLength, guided, fromImage, skipsLayers: guided && skipGuidanceLayers.length > 0 }
}

/** A network's needs for inputs of these shapes. @throws as writing its graph and matching its weights */
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

/** The needs of a part of an autoencoder for an image, with every way to work that there is. @throws as {@link networkNeeds} */
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
  if (graph === undefined) throw new TypeError('An autoencoder works in no way.')
  const needs = { ...needsOf(vae.name, graph, vae.table), ways: ways.map(([, way]) => way) }
  return part === undefined ? needs : { ...needs, part }
}

/** A device as far as plans go: an open one, or one that is only described. */
export type PlannedDevice = Pick<Device, 'info' | 'writeOptions'>

/** Networks, where they are to run, and what for. */
export interface NeedsRequest {
  readonly device: PlannedDevice
  readonly networks: ReadonlyMap<string, Network>
  /** Which of them are on the device. */
  readonly here: (network: string) => boolean
  /** The type that networks compute in unless they have one of their own. */
  readonly dtype: DTypeName
  readonly vaeTiling: boolean | undefined
  readonly size: GenerationSize
}

/** What networks would take on a device, in the order they run. @throws as {@link networkNeeds} */
export function needsOn({ device, networks, here, dtype, vaeTiling, size }: NeedsRequest): ComponentNeeds[] {
  const denoiser = denoiserOf(networks)?.name
  const needs: ComponentNeeds[] = []
  const add = (network: Network, part?: 'encoder') => {
    if (!here(network.name)) return
    const options = graphOptions(network, { device, dtype, granularity: 'block' })
    const own = hasRole(network, 'autoencoder')
      ? autoencoderNeeds(network, size, options, vaeTiling, part)
      : networkNeeds(network, network.model.shapes(size), options)
    needs.push(own)
  }
  const vae = autoencoderOf(networks)
  for (const network of networks.values()) {
    // An image is encoded when the prompt has been, before the first step.
    if (network.name === denoiser && size.fromImage === true && vae !== undefined) add(vae, 'encoder')
    add(network)
  }
  return needs
}

/** What the CPU's account counts of a way to run: weights, which are the same in all. */
export function weightsOnly(needs: ComponentNeeds, way: RunNeeds | undefined = needs.ways[0]): ComponentNeeds {
  const nothing = { activationBytes: 0, largestValue: { name: '', bytes: 0 }, inputs: [] }
  return { ...needs, ways: [{ ...nothing, tile: way?.tile }] }
}

/**
 * What stays on a device beside the network that runs: on the denoiser's, {@link heldBytes}; on the autoencoder's alone, the latents. `needs`
 * are of the networks on it. What the CPU's account counts is weights.
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
  // They come from the denoiser's device, and what of them is decoded is cut out.
  return needs.some(({ name, part }) => name === vae?.name && part === undefined) ? 2 * latents : 0
}

/** The latents that the denoiser was made for. */
export function latentSize(networks: ReadonlyMap<string, Network>): GenerationSize {
  const denoiser = denoiserOf(networks)
  return denoiser === undefined ? { width: 64, height: 64 } : denoiser.model.latents.sampleSize
}

/** The network whose type the pipeline takes for its own, and whose blocks are streamed. */
export function denoiserOf(networks: ReadonlyMap<string, Network>): Network<DenoiserModel> | undefined {
  return [...networks.values()].find((network) => hasRole(network, 'denoiser'))
}

/** The network that turns latents into images. */
export function autoencoderOf(networks: ReadonlyMap<string, Network>): Network<AutoencoderModel> | undefined {
  return [...networks.values()].find((network) => hasRole(network, 'autoencoder'))
}

/** The most arrays of latents that a scheduler keeps from step to step (PNDM's Runge–Kutta steps). */
export const mostKeptLatents = 5

/**
 * Bytes that stay on the denoiser's GPU beside the network that runs: what the denoiser is shown, from the text encoders on; the latents and
 * what the scheduler keeps of them; with skip-layer guidance the text's half of the condition for itself.
 */
export function heldBytes(
  { ways }: ComponentNeeds,
  { latents, promptInputs }: Pick<DenoiserModel, 'latents' | 'promptInputs'>,
  { guided = true, skipsLayers = false }: GenerationSize,
): number {
  const inputs = ways[0]?.inputs ?? []
  const latentBytes = bytesOf(inputs.filter(({ name }) => name === latents.input)) / (guided ? 2 : 1)
  const promptBytes = bytesOf(inputs.filter(({ name }) => promptInputs.includes(name)))
  return bytesOf(inputs) + (1 + mostKeptLatents) * latentBytes + (skipsLayers ? promptBytes / 2 : 0)
}

function bytesOf(values: readonly Sized[]): number {
  return values.reduce((sum, { bytes }) => sum + bytes, 0)
}
