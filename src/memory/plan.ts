/**
 * The memory plan of a pipeline: which component or block has its weights on the GPU when, how many bytes that is, and the peak to
 * expect. A value made before anything is loaded; nothing here touches a device.
 */

import { DeviceError } from '../errors.js'
import { planBlocks, type BlockPlan } from './blocks.js'
import { weightBytes, type ComponentNeeds, type RunNeeds } from './needs.js'
import { formatBytes } from '../util/format-bytes.js'
import type { DeviceInfo } from './device-info.js'

/** `resident`: all components stay. `model`: one at a time. `block`: one at a time, and its blocks pass through where it is too large. */
export type Residence = 'resident' | 'model' | 'block'

/** One component's part of a plan. Bytes of GPU buffers. */
export interface ComponentPlan {
  /** As in model_index.json, such as `unet`. */
  readonly name: string
  /** Set for the autoencoder's way in, which runs where an image is given: it has weights of its own. */
  readonly part?: 'encoder' | undefined
  /** How its weights stay; with `block` it is the components that do not fit whole whose blocks pass through. */
  readonly residence: Residence
  /** All its weights. */
  readonly weightBytes: number
  /** For `createComponent`: undefined when all weights stay while the component is loaded. */
  readonly weightBudget: number | undefined
  /** The most of its weights at once. */
  readonly peakWeightBytes: number
  /** Weights that stay from run to run. */
  readonly keptBytes: number
  /** Weights that each run uploads. */
  readonly streamedBytes: number
  /** The most that a run is expected to hold beside weights. */
  readonly activationBytes: number
  /** Edge in latent pixels of the tiles that it works in. Undefined: all at once. */
  readonly tile?: number | undefined
  /** Its blocks in the order they run. */
  readonly blocks: readonly { readonly name: string; readonly bytes: number; readonly place: 'kept' | 'streamed' }[]
}

/** What one device holds when. */
export interface MemoryPlan {
  /** How weights stay; `model` and `block`: one component at a time. */
  readonly residence: Residence
  /** Bytes that the plan stays within. */
  readonly maxMemory: number
  /** Bytes that stay through the run beside components: prompt embeddings, latents. */
  readonly heldBytes: number
  /** The most bytes that are expected at once: never more than `maxMemory`. */
  readonly peakBytes: number
  /** In the order they run. */
  readonly components: readonly ComponentPlan[]
}

export interface MemoryPlanOptions {
  readonly offload: Residence | 'auto'
  /** Bytes of GPU buffers to stay within. */
  readonly maxMemory: number
  /** Bytes that stay through the run beside components: latents, embeddings. */
  readonly heldBytes?: number | undefined
  /** Bytes of the largest buffer that the device allows. Absent: any. */
  readonly maxBufferSize?: number | undefined
}

const order: readonly Residence[] = ['resident', 'model', 'block']

/** A budget where none is given: WebGPU does not say how much memory there is, so twice the largest buffer, from 1 to 8 GiB. */
export function guessBudget(info: Pick<DeviceInfo, 'maxBufferSize'>): number {
  return Math.min(Math.max(2 * info.maxBufferSize, 2 ** 30), 8 * 2 ** 30)
}

/**
 * Plans a pipeline's components, in the order they are used. `auto` takes the fastest residence that fits.
 * @throws DeviceError `does-not-fit` that says how many bytes the plan needs at least and what was offered; `buffer-too-large`
 */
export function planMemory(needs: readonly ComponentNeeds[], options: MemoryPlanOptions): MemoryPlan {
  const residences = options.offload === 'auto' ? order : [options.offload]
  let refusal: DeviceError | undefined
  for (const residence of residences) {
    try {
      return planAs(residence, needs, options)
    } catch (error) {
      if (!(error instanceof DeviceError)) throw error
      refusal = error
    }
  }
  throw refusal ?? new DeviceError('does-not-fit', 'There is nothing to plan.')
}

function planAs(residence: Residence, needs: readonly ComponentNeeds[], options: MemoryPlanOptions): MemoryPlan {
  const { maxMemory, heldBytes = 0, maxBufferSize } = options
  const all = needs.reduce((sum, component) => sum + weightBytes(component), 0)
  const components = needs.map((component) => {
    // What other components hold while this one runs.
    const others = heldBytes + (residence === 'resident' ? all - weightBytes(component) : 0)
    return planComponent(residence, component, maxMemory - others, maxBufferSize)
  })
  const held = residence === 'resident' ? all : 0
  const peaks = components.map((part) => heldBytes + Math.max(held, part.peakWeightBytes) + part.activationBytes)
  return { residence, maxMemory, heldBytes, peakBytes: Math.max(0, ...peaks), components }
}

/** Plans one component within `available` bytes, in the best of its ways that fits. */
function planComponent(
  residence: Residence,
  needs: ComponentNeeds,
  available: number,
  maxBufferSize: number | undefined,
): ComponentPlan {
  let refusal: unknown
  for (const way of allowedWays(needs, maxBufferSize)) {
    try {
      return placeComponent(residence, needs, available, way)
    } catch (error) {
      refusal = error
    }
  }
  throw refusal
}

/**
 * The ways to run a component whose every tensor fits into a buffer of the device.
 * @throws DeviceError `buffer-too-large` where there is none, with the tensor, its bytes and those allowed
 */
function allowedWays(
  { name, largestWeight, ways }: ComponentNeeds,
  maxBufferSize = Number.POSITIVE_INFINITY,
): readonly RunNeeds[] {
  if (largestWeight.bytes > maxBufferSize) throw bufferTooLarge(name, largestWeight.name, largestWeight.bytes, maxBufferSize)
  const allowed = ways.filter(({ largestValue }) => largestValue.bytes <= maxBufferSize)
  const least = ways.at(-1)?.largestValue
  if (allowed.length > 0 || least === undefined) return allowed
  throw bufferTooLarge(name, `${name}/${least.name}`, least.bytes, maxBufferSize)
}

/** @throws DeviceError `buffer-too-large` where a component cannot run in buffers of this size, in no way that it has */
export function checkBuffers(needs: readonly ComponentNeeds[], maxBufferSize: number): void {
  for (const component of needs) allowedWays(component, maxBufferSize)
}

function placeComponent(
  residence: Residence,
  needs: ComponentNeeds,
  available: number,
  { activationBytes, tile }: RunNeeds,
): ComponentPlan {
  const total = weightBytes(needs)
  const forWeights = available - activationBytes
  const whole = total <= forWeights
  if (!whole && residence !== 'block') throw doesNotFit(needs.name, residence, total + activationBytes, available)
  let blocks: BlockPlan
  try {
    blocks = planBlocks(
      needs.blocks.map(({ bytes }) => bytes),
      Math.max(0, whole ? total : forWeights) - needs.sharedBytes,
      needs.name,
    )
  } catch {
    const least = needs.sharedBytes + Math.max(0, ...needs.blocks.map(({ bytes }) => bytes))
    throw doesNotFit(needs.name, residence, least + activationBytes, available)
  }
  return {
    name: needs.name,
    ...(needs.part === undefined ? {} : { part: needs.part }),
    residence: whole && residence === 'block' ? 'model' : residence,
    weightBytes: total,
    weightBudget: whole ? undefined : forWeights,
    peakWeightBytes: needs.sharedBytes + blocks.peakBytes,
    keptBytes: needs.sharedBytes + blocks.keptBytes,
    streamedBytes: blocks.streamedBytes,
    activationBytes,
    ...(tile === undefined ? {} : { tile }),
    blocks: needs.blocks.map(({ name, bytes }, index) => ({
      name,
      bytes,
      place: blocks.keeps[index] === true ? 'kept' : 'streamed',
    })),
  }
}

/** The weight budget under which a component keeps nothing and still uploads each block while the one before runs. */
export function leastWeightBudget({ blocks, sharedBytes }: ComponentNeeds): number {
  const bytes = blocks.map((block) => block.bytes).filter((size) => size > 0)
  return sharedBytes + Math.max(0, ...bytes.map((size, index) => size + (bytes[(index + 1) % bytes.length] ?? 0)))
}

/** The fewest bytes that {@link planMemory} finds a plan of this residence for. */
export function leastBudget(
  needs: readonly ComponentNeeds[],
  residence: Residence,
  { heldBytes = 0, maxBufferSize }: Pick<MemoryPlanOptions, 'heldBytes' | 'maxBufferSize'> = {},
): number {
  const all = needs.reduce((sum, component) => sum + weightBytes(component), 0)
  const each = needs.map((component) => {
    const weights = weightBytes(component)
    const live = { resident: all, model: weights, block: Math.min(leastWeightBudget(component), weights) }[residence]
    return heldBytes + live + leastActivations(component, maxBufferSize)
  })
  return Math.max(0, ...each)
}

/** Bytes of activations that a run can do with. @throws DeviceError `buffer-too-large` */
export function leastActivations(needs: ComponentNeeds, maxBufferSize?: number): number {
  return Math.min(...allowedWays(needs, maxBufferSize).map(({ activationBytes }) => activationBytes))
}

/** What a device offers to a generation. */
export interface MemoryOffer extends Omit<MemoryPlanOptions, 'maxMemory'> {
  /** How weights stay where there is room. */
  readonly offload: Residence
  /** Bytes to stay within. Undefined: nobody said, and the guess is no reason to refuse. */
  readonly maxMemory: number | undefined
  readonly maxBufferSize: number
}

/**
 * The plan of one generation on a GPU: weights stay as they usually do, or where that leaves too little room as the first tighter
 * residence says. Without a budget the plan is made with a guess at one, or with the least that it takes where that is more.
 * @throws DeviceError `does-not-fit` with bytes needed and offered; `buffer-too-large`
 */
export function planGeneration(needs: readonly ComponentNeeds[], offer: MemoryOffer): MemoryPlan {
  const { offload, maxMemory } = offer
  if (maxMemory === undefined)
    return planMemory(needs, { ...offer, maxMemory: Math.max(guessBudget(offer), leastBudget(needs, offload, offer)) })
  const tighter = order.slice(order.indexOf(offload))
  const residence = tighter.find((one) => leastBudget(needs, one, offer) <= maxMemory) ?? 'block'
  return planMemory(needs, { ...offer, offload: residence, maxMemory })
}

function doesNotFit(component: string, residence: Residence, needed: number, offered: number): DeviceError {
  const message = `${component} needs at least ${needed} bytes (${formatBytes(needed)}) of GPU memory with offload ${residence}; ${Math.max(0, offered)} (${formatBytes(Math.max(0, offered))}) are available.`
  return new DeviceError('does-not-fit', message, { component, residence, needed, offered: Math.max(0, offered) })
}

/** A tensor that no buffer of the GPU holds, however much memory there is. */
function bufferTooLarge(component: string, tensor: string, bytes: number, allowed: number): DeviceError {
  const message = `${component} needs a buffer of ${bytes} bytes (${formatBytes(bytes)}) for the tensor ${tensor}; a buffer of this GPU holds ${allowed} (${formatBytes(allowed)}).`
  return new DeviceError('buffer-too-large', message, { component, tensor, bytes, allowed })
}
