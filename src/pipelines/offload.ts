/** Where a pipeline's weights stay between runs, from what the caller asked and what there is. Pure. */

import { DeviceError, InputError, isAquatintError } from '../errors.js'
import { deviceNames } from '../runtime/device-map.js'
import { weightBytes, type ComponentNeeds } from '../runtime/memory-estimate.js'
import { guessBudget, planMemory } from '../runtime/memory-plan.js'
import { parseMemorySize } from '../runtime/memory-size.js'
import { formatBytes } from '../util/format-bytes.js'
import type { DeviceInfo, DeviceName } from '../runtime/types.js'
import type { LoadPipelineOptions, OffloadMode } from './types.js'

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
  return budgets.named.get(name) ?? (kind === 'wasm' ? residentOnCpu : (budgets.gpu ?? guessBudget(info)))
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
 * cautious guess. @throws DeviceError `does-not-fit` with the bytes needed when even the tightest plan is over the budget
 */
export function resolveOffload({ mode, needs, heldBytes, budgets, device }: OffloadRequest): ResolvedOffload {
  const asked = mode ?? 'auto'
  const maxMemory = budgetOf(budgets, device.name)
  if (device.kind === 'wasm') return onCpu(asked, needs, budgets)
  if (maxMemory !== undefined) return planMemory(needs, { offload: asked, maxMemory, heldBytes }).residence
  if (asked !== 'auto') return asked
  try {
    return planMemory(needs, { offload: asked, maxMemory: guessBudget(device), heldBytes }).residence
  } catch (error) {
    // Nobody set this budget: the device may well have more.
    if (isAquatintError(error) && error.code === 'does-not-fit') return 'block'
    throw error
  }
}

/** Without a GPU weights belong to sessions, which cannot be streamed. A budget that names the CPU is for them and is kept. */
function onCpu(asked: OffloadMode, needs: readonly ComponentNeeds[], { gpu, named }: MemoryBudgets): ResolvedOffload {
  const sizes = needs.map((component) => ({ name: component.name, bytes: weightBytes(component) }))
  const all = sizes.reduce((sum, { bytes }) => sum + bytes, 0)
  const offered = named.get('wasm')
  const residence = asked === 'auto' ? (all <= (offered ?? gpu ?? residentOnCpu) ? 'resident' : 'model') : asked
  if (offered !== undefined) {
    const largest = sizes.toSorted((a, b) => b.bytes - a.bytes)[0]
    const needed = residence === 'resident' ? all : (largest?.bytes ?? 0)
    const component = residence === 'resident' ? sizes.map(({ name }) => name).join(', ') : (largest?.name ?? '')
    if (needed > offered)
      throw new DeviceError(
        'does-not-fit',
        `${component} needs ${needed} bytes (${formatBytes(needed)}) of memory on wasm with offload ${residence}; ${offered} (${formatBytes(offered)}) are offered.`,
        { component, residence, needed, offered },
      )
  }
  return residence === 'block' ? 'model' : residence
}
