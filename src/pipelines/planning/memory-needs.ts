/** What the networks of a pipeline ask of a GPU's memory, from their graphs: the input of the runtime's plans. Nothing is loaded. */

import { autoencoderKLScale } from '../../models/autoencoders/autoencoder-kl.js'
import { matchWeights } from '../../models/match-weights.js'
import type { ComponentGraph, WriteOptions, Shapes } from '../../onnx/types.js'
import { bufferOf, needsOf, runNeedsOf, type ComponentNeeds, type RunNeeds, type Sized } from '../../memory/needs.js'
import { graphOptions, probeShapes, usualT5Tokens, writeGraph, type GraphVariant, type Network } from '../bind-network.js'
import { sampleSize, tileChoices, type Extent } from '../latent-geometry.js'
import type { DTypeName, GenerateOptions } from '../types.js'
import type { Device } from '../../runtime/device.js'

/** A network as far as needs go. */
type PlannedNetwork = Pick<Network, 'name' | 'className' | 'config' | 'table'>
type GraphOptions = Omit<WriteOptions, 'weights' | 'granularity'>

/** What of a generation decides how much memory it takes. */
export interface GenerationSize extends Extent {
  /** Latent pixels. */
  readonly width: number
  readonly height: number
  /** How many are made at once; 1 unless said. */
  readonly images?: number | undefined
  /** Tokens that T5 is given; {@link usualT5Tokens} unless said. */
  readonly t5Tokens?: number | undefined
  /** Whether the denoiser is shown both halves of guidance at once; it is unless said. */
  readonly guided?: boolean | undefined
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
  const { numImagesPerPrompt: images, maxSequenceLength: t5Tokens, skipGuidanceLayers = [] } = options
  return { width, height, images, t5Tokens, guided, fromImage, skipsLayers: guided && skipGuidanceLayers.length > 0 }
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
  { className, config, table }: PlannedNetwork,
  shapes: Shapes,
  options: GraphOptions,
  variant: GraphVariant,
): ComponentGraph {
  const graph = writeGraph(className, config, shapes, { ...options, weights: 'input', granularity: 'block' }, variant)
  return matchWeights(className, [graph], table).graphs[0] ?? graph
}

/** The needs of a part of an autoencoder for an image, with every way to work that there is. @throws as {@link networkNeeds} */
export function autoencoderNeeds(
  vae: PlannedNetwork,
  size: Extent,
  options: GraphOptions,
  vaeTiling: boolean | undefined,
  part?: 'encoder',
): ComponentNeeds {
  const ways = tileChoices(vae.config, size, vaeTiling).map((tile): readonly [ComponentGraph, RunNeeds] => {
    const edge = tile ?? Number.POSITIVE_INFINITY
    const shapes = autoencoderShapes(vae, { height: Math.min(edge, size.height), width: Math.min(edge, size.width) }, part)
    const graph = boundGraph(vae, shapes, options, { part })
    return [graph, { ...runNeedsOf(graph), ...(tile === undefined ? {} : { tile }) }]
  })
  const [[graph] = []] = ways
  if (graph === undefined) throw new TypeError('An autoencoder works in no way.')
  const needs = { ...needsOf(vae.name, graph, vae.table), ways: ways.map(([, way]) => way) }
  return part === undefined ? needs : { ...needs, part }
}

function autoencoderShapes({ config }: PlannedNetwork, { height, width }: Extent, part: 'encoder' | undefined): Shapes {
  const channels = (key: string, usual: number) => (typeof config[key] === 'number' ? config[key] : usual)
  if (part === undefined) return { latents: [1, channels('latent_channels', 4), height, width] }
  const scale = autoencoderKLScale(config)
  return { sample: [1, channels('in_channels', 3), height * scale, width * scale] }
}

/** The shapes of a run: both halves of guidance and all images at once in the denoiser, one text and one image at a time elsewhere. */
export function runShapes(
  { className, config }: Pick<Network, 'className' | 'config'>,
  { width, height, images = 1, t5Tokens = usualT5Tokens, guided = true }: GenerationSize,
): Shapes {
  const resized = Object.entries(probeShapes(className, config, t5Tokens)).map(([name, dims]) => {
    const isImage = name === 'sample' || name === 'hidden_states' || name === 'latents'
    const [batch = 1, ...rest] = isImage ? [...dims.slice(0, 2), height, width] : dims
    return [name, [isDenoiser(className) ? images * (guided ? 2 : 1) : batch, ...rest]] as const
  })
  return Object.fromEntries(resized)
}

function isDenoiser(className: Network['className']): boolean {
  return className === 'UNet2DConditionModel' || className === 'SD3Transformer2DModel'
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
    const own =
      network.className === 'AutoencoderKL'
        ? autoencoderNeeds(network, size, options, vaeTiling, part)
        : networkNeeds(network, runShapes(network, size), options)
    needs.push(own)
  }
  const vae = networks.get('vae')
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
  if (!device.info.capabilities.countsActivations || denoiser === undefined) return 0
  const own = needs.find(({ name }) => name === denoiser.name)
  if (own !== undefined) return heldBytes(own, size)
  const shapes = Object.values(runShapes(denoiser, { ...size, guided: false }))
  const latents = bufferOf({ type: 'float32', dims: shapes[0] ?? [] })
  // They come from the denoiser's device, and what of them is decoded is cut out.
  return needs.some(({ name, part }) => name === 'vae' && part === undefined) ? 2 * latents : 0
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

/** The most arrays of latents that a scheduler keeps from step to step (PNDM's Runge–Kutta steps). */
export const mostKeptLatents = 5

/**
 * Bytes that stay on the denoiser's GPU beside the network that runs: what the denoiser is shown, from the text encoders on; the latents and
 * what the scheduler keeps of them; with skip-layer guidance the text's half of the condition for itself.
 */
export function heldBytes({ ways }: ComponentNeeds, { guided = true, skipsLayers = false }: GenerationSize): number {
  const inputs = ways[0]?.inputs ?? []
  const latents = bytesOf(inputs.filter(isLatents)) / (guided ? 2 : 1)
  const prompts = inputs.filter((input) => !isLatents(input) && input.name !== 'pos_embed' && input.name !== 'timestep_proj')
  return bytesOf(inputs) + (1 + mostKeptLatents) * latents + (skipsLayers ? bytesOf(prompts) / 2 : 0)
}

const isLatents = ({ name }: Sized) => name === 'sample' || name === 'hidden_states'

function bytesOf(values: readonly Sized[]): number {
  return values.reduce((sum, { bytes }) => sum + bytes, 0)
}
