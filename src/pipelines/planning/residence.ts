/** How long the weights of a pipeline's networks stay on a device, from the caller's options and the available memory. Pure. */

import { InputError } from '../../errors.js'
import type { DeviceBudget } from '../../memory/budget.js'
import type { DeviceInfo } from '../../memory/device-info.js'
import { weightBytes, type ComponentNeeds } from '../../memory/needs.js'
import {
  fastestFit,
  guessBudget,
  planGeneration,
  planMemory,
  refusalOf,
  withinBuffers,
  type MemoryOffer,
  type MemoryPlan,
  type Residence,
} from '../../memory/plan.js'
import { isRefusal, type Refusal } from '../../memory/refusal.js'
import { formatBytes } from '../../util/format-bytes.js'
import { weightsOnly } from './memory-needs.js'
import type { OffloadMode } from '../types.js'

/** Bytes of weights that stay on a CPU without a budget: WebAssembly's heap has 4 GiB, for these weights and everything else. */
const residentOnCpu = 1e9

/** @throws InputError `offload` for a value that is no mode */
export function checkOffload(mode: unknown): asserts mode is OffloadMode | undefined {
  if (mode === undefined || mode === 'auto' || mode === 'resident' || mode === 'model' || mode === 'block') return
  const given = (JSON.stringify(mode) ?? typeof mode).slice(0, 100)
  throw new InputError('offload', `offload is ${given}; allowed are 'auto', 'resident', 'model' and 'block'.`, { offload: given })
}

/** Bytes that a device offers to `deviceMap` `balanced`. */
export function offeredMemory({ limit, target }: DeviceBudget, device: DeviceInfo): number {
  if (!device.capabilities.streamsWeights) return heapBytes(limit ?? residentOnCpu, device)
  return limit ?? target ?? guessBudget(device)
}

/** The arguments of {@link chooseResidence}. */
export interface ResidenceRequest {
  /** The caller's `offload`. */
  readonly mode: OffloadMode | undefined
  /** What the networks on the device need for one generation, in the order they run. */
  readonly needs: readonly ComponentNeeds[]
  /** Bytes that stay on the device beside the network that runs. */
  readonly heldBytes?: number | undefined
  readonly budget: DeviceBudget
  readonly device: DeviceInfo
}

/**
 * How long weights usually stay on a device. `auto` is the fastest residence with a plan within the budget. Without a budget, a cautious
 * guess takes its place, but nothing is refused because of the guess. A refusal says `does-not-fit` with the bytes needed and offered if
 * the residence, or with `auto` every residence, is over the budget or over WebAssembly's heap. It says `buffer-too-large` if a buffer is
 * larger than the device allows.
 */
export function chooseResidence(request: ResidenceRequest): Residence | Refusal {
  const { mode = 'auto', needs, heldBytes, budget, device } = request
  if (!device.capabilities.streamsWeights) return residenceOnCpu(mode, needs, budget, device)
  const runnable = withinBuffers(needs, device.maxBufferSize)
  if (isRefusal(runnable)) return runnable
  const { limit } = budget
  const residence = mode === 'auto' ? fastestFit(runnable, limit ?? guessBudget(device), heldBytes) : mode
  if (limit === undefined) return residence
  return refusalOf(residence, runnable, { maxMemory: limit, heldBytes }) ?? residence
}

/** On a CPU weights belong to onnxruntime's sessions, which cannot stream them. */
function residenceOnCpu(
  mode: OffloadMode,
  needs: readonly ComponentNeeds[],
  { limit, target }: DeviceBudget,
  device: DeviceInfo,
): 'resident' | 'model' | Refusal {
  const stay = mode === 'auto' ? allWeights(needs) <= heapBytes(limit ?? target ?? residentOnCpu, device) : mode === 'resident'
  const residence = stay ? 'resident' : 'model'
  return cpuRefusal(residence, needs, heapBytes(limit, device)) ?? residence
}

/** Bytes of WebAssembly's heap for weights: all of it, or the budget if that is less. */
function heapBytes(budget: number | undefined, { maxBufferSize }: DeviceInfo): number {
  return Math.min(budget ?? maxBufferSize, maxBufferSize)
}

function allWeights(needs: readonly ComponentNeeds[]): number {
  return needs.reduce((sum, component) => sum + weightBytes(component), 0)
}

/** Returns undefined if the weights that are in memory at the same time fit. */
function cpuRefusal(residence: 'resident' | 'model', needs: readonly ComponentNeeds[], offered: number): Refusal | undefined {
  const sizes = needs.map((component) => ({ name: component.name, bytes: weightBytes(component) }))
  const largest = sizes.reduce((most, size) => (size.bytes > most.bytes ? size : most), { name: '', bytes: 0 })
  const together = { name: [...new Set(sizes.map(({ name }) => name))].join(', '), bytes: allWeights(needs) }
  const { name: component, bytes: needed } = residence === 'resident' ? together : largest
  if (needed <= offered) return undefined
  return {
    refused: 'does-not-fit',
    message: `${component} needs ${needed} bytes (${formatBytes(needed)}) of memory on wasm with offload ${residence}; ${offered} (${formatBytes(offered)}) are available.`,
    details: { component, residence, needed, offered },
  }
}

/** The arguments of {@link planOn}. */
export interface GenerationRequest extends Pick<MemoryOffer, 'foundMemory' | 'tooMany'> {
  /** How weights usually stay. */
  readonly offload: Residence
  readonly needs: readonly ComponentNeeds[]
  readonly heldBytes: number
  readonly budget: DeviceBudget
  readonly device: DeviceInfo
}

/**
 * The plan of one generation on a device: with `offload`, the residence that {@link chooseResidence} chose, or with one that keeps less on
 * the device if this generation needs more memory. A refusal says `does-not-fit` with bytes needed and offered, or `buffer-too-large`.
 */
export function planOn({ budget, device, ...request }: GenerationRequest): MemoryPlan | Refusal {
  return device.capabilities.streamsWeights
    ? planGeneration(request.needs, { ...request, maxMemory: budget.limit, maxBufferSize: device.maxBufferSize })
    : planOnCpu(request, budget, device)
}

function planOnCpu(
  { offload, needs }: Pick<GenerationRequest, 'offload' | 'needs'>,
  { limit, target = Number.POSITIVE_INFINITY }: DeviceBudget,
  device: DeviceInfo,
): MemoryPlan | Refusal {
  const offered = heapBytes(limit, device)
  const all = allWeights(needs)
  const residence = offload === 'resident' && all <= offered ? 'resident' : 'model'
  const refusal = cpuRefusal(residence, needs, offered)
  if (refusal !== undefined) return refusal
  const runs = needs.map((component): ComponentNeeds => {
    const forRun = target - Math.max(residence === 'resident' ? all : 0, weightBytes(component))
    const way = component.ways.find(({ activationBytes }) => activationBytes <= forRun) ?? component.ways.at(-1)
    return weightsOnly(component, way)
  })
  return planMemory(runs, { offload: residence, maxMemory: offered })
}
