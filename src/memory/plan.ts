/**
 * The memory plan of a pipeline: when the weights of each component and block are on the device, how many bytes they take, and the peak to
 * expect. It is made before anything is loaded; the code that loads and runs components follows it. Pure.
 */

import { planBlocks } from './blocks.js'
import { countOnce, weightBytes, type ComponentNeeds, type RunNeeds } from './needs.js'
import { formatBytes } from '../util/format-bytes.js'
import type { DeviceInfo } from './device-info.js'
import { isRefusal, type Refusal } from './refusal.js'

/**
 * `resident`: all components stay on the device. `model`: one at a time. `block`: one at a time, and a component that is too large streams
 * its blocks.
 */
export type Residence = 'resident' | 'model' | 'block'

/** One component's part of a plan. Sizes are bytes of GPU buffers. */
export interface ComponentPlan {
  /** As in model_index.json, such as `unet`. */
  readonly name: string
  /** Set for the autoencoder's encoder, which has weights of its own and runs only if an image is given. */
  readonly part?: 'encoder' | undefined
  /** How long its weights stay. In a plan with `block`, a component that fits whole has `model` here. */
  readonly residence: Residence
  /** Bytes of all its weights. */
  readonly weightBytes: number
  /** Bytes that its weights may take at once. Undefined: all of them stay while the component is loaded. */
  readonly weightBudget: number | undefined
  /** The most bytes that its weights take at once. */
  readonly peakWeightBytes: number
  /** Bytes of weights that stay from run to run. */
  readonly keptBytes: number
  /** Bytes of weights that each run of a generation uploads, except the first run, which can upload more. */
  readonly streamedBytes: number
  /** The most that a run is expected to hold beside weights. */
  readonly activationBytes: number
  /** Edge in latent pixels of the tiles that the component works in. Undefined: it works on the whole input at once. */
  readonly tile?: number | undefined
  /**
   * Its blocks in the order they run. The weights of a `kept` block stay on the device. The first run of a generation uploads the weights
   * of a `once` block; every run uploads those of a `streamed` block.
   */
  readonly blocks: readonly { readonly name: string; readonly bytes: number; readonly place: 'kept' | 'once' | 'streamed' }[]
}

/** How the weights of one component are loaded: the part of its plan that a bound network follows. */
export type WeightPlan = Pick<ComponentPlan, 'weightBudget' | 'blocks'>

/** The plan of one device: which weights it holds, and when. */
export interface MemoryPlan {
  /** How long weights stay on the device. With `model` and `block`, it holds one component at a time. */
  readonly residence: Residence
  /** Bytes that the plan stays within. */
  readonly maxMemory: number
  /** Bytes of prompt embeddings and latents, which stay on the device for the whole run. */
  readonly heldBytes: number
  /** The most bytes that are expected at once: never more than `maxMemory`. */
  readonly peakBytes: number
  /** The components in the order in which they run. */
  readonly components: readonly ComponentPlan[]
}

/** The memory that a plan may use. */
export interface MemoryPlanOptions {
  readonly offload: Residence | 'auto'
  /** Bytes of GPU buffers to stay within: a plan that takes more is refused. */
  readonly maxMemory: number
  /** Bytes of prompt embeddings and latents, which stay on the device for the whole run. */
  readonly heldBytes?: number | undefined
  /** Bytes of the largest buffer that the device allows. Absent: no limit. */
  readonly maxBufferSize?: number | undefined
  /**
   * Bytes of memory that the device turned out to have. Streamed components are planned within these bytes or, if that is impossible, with
   * as few weights at once as possible. This value refuses no plan.
   */
  readonly foundMemory?: number | undefined
  /** For components that ran out of memory, the bytes of weights that were on the device at once: a streamed component then gets less. */
  readonly tooMany?: ReadonlyMap<string, number> | undefined
}

const order: readonly Residence[] = ['resident', 'model', 'block']

/** The budget if the caller set none: twice the largest buffer, from 1 to 8 GiB. It is a guess: WebGPU does not report how much memory a GPU has. */
export function guessBudget(info: Pick<DeviceInfo, 'maxBufferSize'>): number {
  return Math.min(Math.max(2 * info.maxBufferSize, 2 ** 30), 8 * 2 ** 30)
}

/**
 * Plans a pipeline's components, in the order they are used. `auto` takes the fastest residence that fits.
 * A refusal says `does-not-fit` with the bytes that the plan needs at least and those offered, or `buffer-too-large`.
 */
export function planMemory(needs: readonly ComponentNeeds[], options: MemoryPlanOptions): MemoryPlan | Refusal {
  const runnable = withinBuffers(needs, options.maxBufferSize)
  if (isRefusal(runnable)) return runnable
  const { offload, maxMemory, heldBytes } = options
  return planAs(offload === 'auto' ? fastestFit(runnable, maxMemory, heldBytes) : offload, runnable, options)
}

/** The fastest residence, `from` or a slower one, that has a plan within `maxMemory` bytes; `block` if none has. */
export function fastestFit(
  needs: readonly ComponentNeeds[],
  maxMemory: number,
  heldBytes = 0,
  from: Residence = 'resident',
): Residence {
  return order.slice(order.indexOf(from)).find((one) => leastBudget(needs, one, heldBytes) <= maxMemory) ?? 'block'
}

/** The reason why no plan with this residence is possible. Undefined: one is possible. */
export function refusalOf(
  residence: Residence,
  needs: readonly ComponentNeeds[],
  { maxMemory, heldBytes = 0 }: Pick<MemoryPlanOptions, 'maxMemory' | 'heldBytes'>,
): Refusal | undefined {
  return needs.map((one) => wayFor(residence, one, maxMemory - heldBytes - othersOf(residence, one, needs))).find(isRefusal)
}

function planAs(residence: Residence, needs: readonly ComponentNeeds[], options: MemoryPlanOptions): MemoryPlan | Refusal {
  const { maxMemory, heldBytes = 0 } = options
  const components: ComponentPlan[] = []
  for (const one of needs) {
    const way = wayFor(residence, one, maxMemory - heldBytes - othersOf(residence, one, needs))
    if (isRefusal(way)) return way
    components.push(planComponent(residence, one, way, options))
  }
  const resident = residence === 'resident' ? allWeights(needs) : 0
  const peaks = components.map((part) => heldBytes + Math.max(resident, part.peakWeightBytes) + part.activationBytes)
  return { residence, maxMemory, heldBytes, peakBytes: Math.max(0, ...peaks), components }
}

function allWeights(needs: readonly ComponentNeeds[]): number {
  return needs.reduce((sum, component) => sum + weightBytes(component), 0)
}

/** Bytes of weights of other components that are on the device while this one runs. */
function othersOf(residence: Residence, own: ComponentNeeds, needs: readonly ComponentNeeds[]): number {
  return residence === 'resident' ? allWeights(needs) - weightBytes(own) : 0
}

/**
 * Leaves out the ways to run with a tensor that is too large for a buffer of the device, and returns the needs with the remaining ways.
 * A refusal `buffer-too-large` names the tensor, its bytes and the bytes that a buffer may have.
 */
export function withinBuffers(
  needs: readonly ComponentNeeds[],
  maxBufferSize = Number.POSITIVE_INFINITY,
): readonly ComponentNeeds[] | Refusal {
  const runnable: ComponentNeeds[] = []
  for (const component of needs) {
    const { name, largestWeight, ways } = component
    if (largestWeight.bytes > maxBufferSize) return bufferTooLarge(name, largestWeight.name, largestWeight.bytes, maxBufferSize)
    const allowed = ways.filter(({ largestValue }) => largestValue.bytes <= maxBufferSize)
    const least = ways.at(-1)?.largestValue
    if (allowed.length === 0 && least !== undefined)
      return bufferTooLarge(name, `${name}/${least.name}`, least.bytes, maxBufferSize)
    runnable.push({ ...component, ways: allowed })
  }
  return runnable
}

/** The first way to run a component in which its activations, and the weights that are on the device at once, fit together in `available` bytes. */
function wayFor(residence: Residence, needs: ComponentNeeds, available: number): RunNeeds | Refusal {
  const weights = residence === 'block' ? leastWeights(needs) : weightBytes(needs)
  const way = needs.ways.find(({ activationBytes }) => weights + activationBytes <= available)
  return way ?? doesNotFit(needs.name, residence, weights + (needs.ways.at(-1)?.activationBytes ?? 0), available)
}

function planComponent(
  residence: Residence,
  needs: ComponentNeeds,
  { activationBytes, tile }: RunNeeds,
  options: MemoryPlanOptions,
): ComponentPlan {
  const total = weightBytes(needs)
  const atOnce = residence === 'block' ? weightsAtOnce(needs, activationBytes, options) : total
  const whole = atOnce >= total
  const once = countOnce(needs.blocks)
  const blocks = planBlocks(
    needs.blocks.map(({ bytes }) => bytes),
    Math.min(atOnce, total) - needs.sharedBytes,
    once,
  )
  return {
    name: needs.name,
    ...(needs.part === undefined ? {} : { part: needs.part }),
    residence: whole && residence === 'block' ? 'model' : residence,
    weightBytes: total,
    weightBudget: whole ? undefined : atOnce,
    peakWeightBytes: needs.sharedBytes + blocks.peakBytes,
    keptBytes: needs.sharedBytes + blocks.keptBytes,
    streamedBytes: blocks.streamedBytes,
    activationBytes,
    ...(tile === undefined ? {} : { tile }),
    blocks: needs.blocks.map(({ name, bytes }, index) => ({
      name,
      bytes,
      place: blocks.keeps[index] === true ? 'kept' : index < once ? 'once' : 'streamed',
    })),
  }
}

/** Bytes that the weights of a component may take at once where blocks are streamed. */
function weightsAtOnce(
  needs: ComponentNeeds,
  activationBytes: number,
  { maxMemory, heldBytes = 0, foundMemory = Number.POSITIVE_INFINITY, tooMany }: MemoryPlanOptions,
): number {
  const allowed = maxMemory - heldBytes - activationBytes
  const found = foundMemory - heldBytes - activationBytes
  const [least, total] = [leastWeights(needs), weightBytes(needs)]
  const tooManyBytes = tooMany?.get(needs.name) ?? Number.POSITIVE_INFINITY
  const choices = [Math.min(allowed, found), Math.min(allowed, leastWeightBudget(needs))]
  return choices.find((bytes) => bytes >= least && Math.min(bytes, total) < tooManyBytes) ?? least
}

/** The fewest bytes that the weights of a streamed component take: one block at a time. */
function leastWeights({ blocks, sharedBytes }: ComponentNeeds): number {
  return sharedBytes + Math.max(0, ...blocks.map(({ bytes }) => bytes))
}

/** The weight budget with which a component keeps nothing and still uploads each block while the one before runs. */
export function leastWeightBudget({ blocks, sharedBytes }: ComponentNeeds): number {
  const used = blocks.filter(({ bytes }) => bytes > 0)
  // After the last block comes the first block of the next run, which skips the blocks that only the first run uses.
  const first = used.find(({ once }) => once !== true)
  return sharedBytes + Math.max(0, ...used.map(({ bytes }, index) => bytes + (used[index + 1] ?? first ?? { bytes: 0 }).bytes))
}

/**
 * The smallest budget for which {@link planMemory} finds a plan with this residence; with `block`, a plan that uploads each block while the
 * block before it runs.
 */
export function leastBudget(needs: readonly ComponentNeeds[], residence: Residence, heldBytes = 0): number {
  const all = allWeights(needs)
  const each = needs.map((component) => {
    const weights = weightBytes(component)
    const live = { resident: all, model: weights, block: Math.min(leastWeightBudget(component), weights) }[residence]
    return heldBytes + live + leastActivations(component)
  })
  return Math.max(0, ...each)
}

/** The fewest bytes of activations with which a run is possible. */
export function leastActivations({ ways }: ComponentNeeds): number {
  return Math.min(...ways.map(({ activationBytes }) => activationBytes))
}

/** The memory that a GPU offers to a generation. */
export interface MemoryOffer extends Omit<MemoryPlanOptions, 'maxMemory'> {
  /** The residence to use if the generation fits with it. */
  readonly offload: Residence
  /** Bytes to stay within. Undefined: the caller set no limit; the plan uses a guess, which refuses nothing. */
  readonly maxMemory: number | undefined
  readonly maxBufferSize: number
}

/**
 * The plan of one generation on a GPU, with the offered residence, or with the first tighter residence in which the generation fits. If the
 * caller set no limit, the plan keeps the offered residence, and its budget is a guess or the least that this residence needs, whichever is
 * larger.
 * A refusal says `does-not-fit` with bytes needed and offered, or `buffer-too-large`.
 */
export function planGeneration(needs: readonly ComponentNeeds[], offer: MemoryOffer): MemoryPlan | Refusal {
  const { offload, maxMemory, heldBytes, maxBufferSize } = offer
  const runnable = withinBuffers(needs, maxBufferSize)
  if (isRefusal(runnable)) return runnable
  if (maxMemory === undefined)
    return planAs(offload, runnable, {
      ...offer,
      maxMemory: Math.max(guessBudget(offer), leastBudget(runnable, offload, heldBytes)),
    })
  return planAs(fastestFit(runnable, maxMemory, heldBytes, offload), runnable, { ...offer, maxMemory })
}

/** Whether a component could run with fewer weights at once than its plan gives it. */
export function canShrink({ weightBytes: total, weightBudget, blocks }: ComponentPlan): boolean {
  const sizes = blocks.map(({ bytes }) => bytes)
  const shared = total - sizes.reduce((sum, bytes) => sum + bytes, 0)
  return (weightBudget ?? total) > shared + Math.max(0, ...sizes)
}

function doesNotFit(component: string, residence: Residence, needed: number, offered: number): Refusal {
  const message = `${component} needs at least ${needed} bytes (${formatBytes(needed)}) of GPU memory with offload ${residence}; ${Math.max(0, offered)} (${formatBytes(Math.max(0, offered))}) are available.`
  return { refused: 'does-not-fit', message, details: { component, residence, needed, offered: Math.max(0, offered) } }
}

/** A tensor is larger than any buffer of the GPU, however much memory there is. */
function bufferTooLarge(component: string, tensor: string, bytes: number, allowed: number): Refusal {
  const message = `${component} needs a buffer of ${bytes} bytes (${formatBytes(bytes)}) for the tensor ${tensor}; a buffer of this GPU holds ${allowed} (${formatBytes(allowed)}).`
  return { refused: 'buffer-too-large', message, details: { component, tensor, bytes, allowed } }
}
