/** Where a pipeline's weights stay between runs, from what the caller asked and what there is. Pure. */

import { DeviceError, InputError, isAquatintError } from '../../errors.js'
import { deviceNames } from '../../memory/balance.js'
import { weightBytes, type ComponentNeeds } from '../../memory/needs.js'
import { checkBuffers, guessBudget, planGeneration, planMemory, type MemoryPlan } from '../../memory/plan.js'
import { parseMemorySize } from '../../memory/budget.js'
import { formatBytes } from '../../util/format-bytes.js'
import { weightsOnly } from './memory-needs.js'
import type { LoadPipelineOptions, OffloadMode } from '../types.js'
import type { DeviceInfo, DeviceName } from '../../memory/device-info.js'

/** What is done: all stay, one component at a time, or one component at a time with the denoiser's blocks streamed. */
export type ResolvedOffload = Exclude<OffloadMode, 'auto'>

/** Weights that may stay in WebAssembly's heap, which holds 4 GiB with all else. */
const residentOnCpu = 1e9

/** What `maxMemory` says, in bytes. */
export interface MemoryBudgets {
  /** For GPU buffers, of each GPU. */
  readonly gpu: number | undefined
  /** By device. */
  readonly named: ReadonlyMap<DeviceName, number>
}

/** @throws InputError `bad-memory-size`, `bad-device` */
export function parseBudgets(maxMemory: LoadPipelineOptions['maxMemory']): MemoryBudgets {
  if (typeof maxMemory !== 'object' || maxMemory === null)
    return { gpu: maxMemory === undefined ? undefined : parseMemorySize(maxMemory), named: new Map() }
  const named = new Map<DeviceName, number>()
  for (const [device, size] of Object.entries(maxMemory)) {
    const name = deviceNames.find((known) => known === device)
    if (name === undefined)
      throw new InputError(
        'bad-device',
        `maxMemory names ${JSON.stringify(device.slice(0, 100))}; the devices are ${deviceNames.join(', ')}.`,
        { device: device.slice(0, 100), allowed: deviceNames },
      )
    if (size !== undefined) named.set(name, parseMemorySize(size, `maxMemory[${JSON.stringify(name)}]`))
  }
  return { gpu: undefined, named }
}

/** What a device is asked to stay within; undefined: nobody said. */
export function budgetOf({ gpu, named }: MemoryBudgets, device: DeviceName): number | undefined {
  return named.get(device) ?? gpu
}

/** Bytes that a device offers to be shared out where nobody said. */
export function offeredMemory(budgets: MemoryBudgets, info: DeviceInfo): number {
  const { kind, name } = info
  const named = budgets.named.get(name)
  return kind === 'wasm' ? memoryOfCpu(named ?? residentOnCpu, info) : (named ?? budgets.gpu ?? guessBudget(info))
}

/** What there is to decide by. */
export interface OffloadRequest {
  readonly mode: OffloadMode | undefined
  /** What the networks on the device need for an image of the usual size, in the order they run. */
  readonly needs: readonly ComponentNeeds[]
  /** Bytes that stay on it beside the network that runs. */
  readonly heldBytes?: number | undefined
  readonly budgets: MemoryBudgets
  readonly device: DeviceInfo
}

/** @throws InputError `offload` for a word that is no mode */
export function checkOffload(mode: unknown): asserts mode is OffloadMode | undefined {
  if (mode === undefined || mode === 'auto' || mode === 'resident' || mode === 'model' || mode === 'block') return
  const given = (JSON.stringify(mode) ?? typeof mode).slice(0, 100)
  throw new InputError('offload', `offload is ${given}; allowed are 'auto', 'resident', 'model' and 'block'.`, { offload: given })
}

/**
 * The mode for the networks of a pipeline that are on one device. `auto` takes the fastest whose plan fits its budget, or without one a
 * cautious guess. @throws DeviceError `does-not-fit` with the bytes needed when even the tightest plan is over the budget, or over all that
 * the CPU has; `buffer-too-large`
 */
export function resolveOffload({ mode, needs, heldBytes, budgets, device }: OffloadRequest): ResolvedOffload {
  const asked = mode ?? 'auto'
  const maxMemory = budgetOf(budgets, device.name)
  if (device.kind === 'wasm') return onCpu(asked, needs, budgets, device)
  const { maxBufferSize } = device
  checkBuffers(needs, maxBufferSize)
  if (maxMemory !== undefined) return planMemory(needs, { offload: asked, maxMemory, heldBytes, maxBufferSize }).residence
  if (asked !== 'auto') return asked
  try {
    return planMemory(needs, { offload: asked, maxMemory: guessBudget(device), heldBytes, maxBufferSize }).residence
  } catch (error) {
    // Nobody set this budget: the device may well have more.
    if (isAquatintError(error) && error.code === 'does-not-fit') return 'block'
    throw error
  }
}

/** Without a GPU weights belong to sessions, which cannot be streamed. A budget that names the CPU is for them. */
function onCpu(
  asked: OffloadMode,
  needs: readonly ComponentNeeds[],
  { gpu, named }: MemoryBudgets,
  device: DeviceInfo,
): ResolvedOffload {
  const own = named.get('wasm')
  const all = needs.reduce((sum, component) => sum + weightBytes(component), 0)
  const stay = asked === 'auto' ? all <= memoryOfCpu(own ?? gpu ?? residentOnCpu, device) : asked === 'resident'
  const residence = stay ? 'resident' : 'model'
  checkOnCpu(residence, needs, memoryOfCpu(own, device))
  return residence
}

/** Bytes that the CPU has for weights: what was said, or else WebAssembly's whole heap. */
function memoryOfCpu(said: number | undefined, { maxBufferSize }: DeviceInfo): number {
  return Math.min(said ?? maxBufferSize, maxBufferSize)
}

/** @throws DeviceError `does-not-fit` where weights that stay together take more than there is */
function checkOnCpu(residence: 'resident' | 'model', needs: readonly ComponentNeeds[], offered: number): void {
  const sizes = needs.map((component) => ({ name: component.name, bytes: weightBytes(component) }))
  const largest = sizes.reduce((most, size) => (size.bytes > most.bytes ? size : most), { name: '', bytes: 0 })
  const together = {
    name: [...new Set(sizes.map(({ name }) => name))].join(', '),
    bytes: sizes.reduce((sum, { bytes }) => sum + bytes, 0),
  }
  const { name: component, bytes: needed } = residence === 'resident' ? together : largest
  if (needed <= offered) return
  throw new DeviceError(
    'does-not-fit',
    `${component} needs ${needed} bytes (${formatBytes(needed)}) of memory on wasm with offload ${residence}; ${offered} (${formatBytes(offered)}) are available.`,
    { component, residence, needed, offered },
  )
}

/** What generations on one device keep to. */
export interface GenerationBudgets {
  /** Bytes of GPU buffers to stay within, on a CPU of what a run holds at all; undefined: nobody said. */
  readonly maxMemory: number | undefined
  /** Bytes for weights on a CPU; undefined: nobody said. */
  readonly cpuMemory?: number | undefined
}

export function generationBudgets(budgets: MemoryBudgets, { kind, name }: DeviceInfo): GenerationBudgets {
  return kind === 'wasm'
    ? { maxMemory: budgets.gpu, cpuMemory: budgets.named.get('wasm') }
    : { maxMemory: budgetOf(budgets, name) }
}

/** What a generation is planned by on one device. */
export interface GenerationRequest extends GenerationBudgets {
  /** How weights usually stay. */
  readonly offload: ResolvedOffload
  readonly needs: readonly ComponentNeeds[]
  readonly heldBytes: number
  readonly device: DeviceInfo
}

/**
 * The plan of one generation on a device: what {@link resolveOffload} decided for the usual size, or the next tighter mode where this one
 * asks for more room. @throws DeviceError `does-not-fit` with bytes needed and offered; `buffer-too-large`
 */
export function planOn({ offload, needs, heldBytes, maxMemory, cpuMemory, device }: GenerationRequest): MemoryPlan {
  const { kind, maxBufferSize } = device
  if (kind === 'webgpu') return planGeneration(needs, { offload, maxMemory, heldBytes, maxBufferSize })
  const offered = memoryOfCpu(cpuMemory, device)
  const all = needs.reduce((sum, component) => sum + weightBytes(component), 0)
  const residence = offload === 'resident' && all <= offered ? 'resident' : 'model'
  checkOnCpu(residence, needs, offered)
  const others = residence === 'resident' ? all : 0
  const runs = needs.map((component): ComponentNeeds => {
    const room = (maxMemory ?? Number.POSITIVE_INFINITY) - Math.max(others, weightBytes(component))
    return weightsOnly(component, component.ways.find(({ activationBytes }) => activationBytes <= room) ?? component.ways.at(-1))
  })
  return planMemory(runs, { offload: residence, maxMemory: offered })
}
