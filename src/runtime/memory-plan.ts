/**
 * The memory plan of a pipeline: which component or block has its weights on the GPU when, how many bytes that is, and the peak to
 * expect. A value made before anything is loaded; nothing here touches a device.
 */

import { DeviceError } from '../errors.js'
import { planBlocks, type BlockPlan } from './block-plan.js'
import { leastActivations, weightBytes, type ComponentNeeds } from './memory-estimate.js'
import { formatBytes } from '../util/format-bytes.js'
import type { DeviceInfo } from './types.js'

/** `resident`: all components stay. `model`: one at a time. `block`: one at a time, and its blocks pass through where it is too large. */
export type Residence = 'resident' | 'model' | 'block'

/** One component's part of a plan. Bytes of GPU buffers. */
export interface ComponentPlan {
  /** As in model_index.json, such as `unet`. */
  readonly name: string
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
  /** Whether the component must work tile by tile to fit. */
  readonly tiled: boolean
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
}

const order: readonly Residence[] = ['resident', 'model', 'block']

/** A budget where none is given: WebGPU does not say how much memory there is, so twice the largest buffer, from 1 to 8 GiB. */
export function guessBudget(info: Pick<DeviceInfo, 'maxBufferSize'>): number {
  return Math.min(Math.max(2 * info.maxBufferSize, 2 ** 30), 8 * 2 ** 30)
}

/**
 * Plans a pipeline's components, in the order they are used. `auto` takes the fastest residence that fits.
 * @throws DeviceError `does-not-fit` that says how many bytes the plan needs at least and what was offered
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
  const { maxMemory, heldBytes = 0 } = options
  const all = needs.reduce((sum, component) => sum + weightBytes(component), 0)
  const components = needs.map((component) => {
    // What other components hold while this one runs.
    const others = heldBytes + (residence === 'resident' ? all - weightBytes(component) : 0)
    return planComponent(residence, component, maxMemory - others)
  })
  const held = residence === 'resident' ? all : 0
  const peaks = components.map((part) => heldBytes + Math.max(held, part.peakWeightBytes) + part.activationBytes)
  return { residence, maxMemory, heldBytes, peakBytes: Math.max(0, ...peaks), components }
}

/** Plans one component within `available` bytes, tiled only where it does not fit otherwise. */
function planComponent(residence: Residence, needs: ComponentNeeds, available: number): ComponentPlan {
  const { activationBytes, tiledActivationBytes } = needs
  try {
    return placeComponent(residence, needs, available, activationBytes, false)
  } catch (error) {
    if (tiledActivationBytes === undefined || tiledActivationBytes >= activationBytes) throw error
    return placeComponent(residence, needs, available, tiledActivationBytes, true)
  }
}

function placeComponent(
  residence: Residence,
  needs: ComponentNeeds,
  available: number,
  activationBytes: number,
  tiled: boolean,
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
    residence: whole && residence === 'block' ? 'model' : residence,
    weightBytes: total,
    weightBudget: whole ? undefined : forWeights,
    peakWeightBytes: needs.sharedBytes + blocks.peakBytes,
    keptBytes: needs.sharedBytes + blocks.keptBytes,
    streamedBytes: blocks.streamedBytes,
    activationBytes,
    tiled,
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
export function leastBudget(needs: readonly ComponentNeeds[], residence: Residence, heldBytes = 0): number {
  const all = needs.reduce((sum, component) => sum + weightBytes(component), 0)
  const each = needs.map((component) => {
    const weights = weightBytes(component)
    const live = { resident: all, model: weights, block: Math.min(leastWeightBudget(component), weights) }[residence]
    return heldBytes + live + leastActivations(component)
  })
  return Math.max(0, ...each)
}

/** The residence to take where weights stay as `from` says if there is room: the first of it and the tighter ones that a plan is found for. */
export function fittingResidence(needs: readonly ComponentNeeds[], from: Residence, maxMemory: number, heldBytes = 0): Residence {
  const tighter = order.slice(order.indexOf(from))
  return tighter.find((residence) => leastBudget(needs, residence, heldBytes) <= maxMemory) ?? 'block'
}

function doesNotFit(component: string, residence: Residence, needed: number, offered: number): DeviceError {
  const message = `${component} needs at least ${needed} bytes (${formatBytes(needed)}) of GPU memory with offload ${residence}; ${Math.max(0, offered)} (${formatBytes(Math.max(0, offered))}) are offered.`
  return new DeviceError('does-not-fit', message, { component, residence, needed, offered: Math.max(0, offered) })
}

/** The plan as a table for people. */
export function formatPlan(plan: MemoryPlan): string {
  const rows = plan.components.map((part) => [
    part.name,
    part.residence,
    formatBytes(part.weightBytes),
    formatBytes(part.keptBytes),
    formatBytes(part.peakWeightBytes),
    formatBytes(part.streamedBytes),
    formatBytes(part.activationBytes),
    `${part.blocks.filter(({ place }) => place === 'kept').length}/${part.blocks.length}${part.tiled ? ', tiled' : ''}`,
  ])
  const table = [['component', 'residence', 'weights', 'stay', 'at most', 'per run', 'activations', 'blocks that stay'], ...rows]
  const widths = table[0]?.map((_, column) => Math.max(...table.map((row) => row[column]?.length ?? 0))) ?? []
  const lines = table.map((row) =>
    row
      .map((cell, column) => (column < 2 || column === 7 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0)))
      .join('  ')
      .trimEnd(),
  )
  const held = plan.heldBytes === 0 ? '' : `, with ${formatBytes(plan.heldBytes)} for embeddings and latents`
  return [
    ...lines,
    `offload ${plan.residence}: at most ${formatBytes(plan.peakBytes)} of ${formatBytes(plan.maxMemory)}${held}`,
  ].join('\n')
}
