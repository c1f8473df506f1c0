/**
 * From the options `device`, `deviceMap`, `maxMemory` and `offload` to hosts: which devices are opened, which network goes on which, and
 * how its weights stay there. Knows no pipeline's order of work.
 */

import { isAquatintError } from '../../errors.js'
import { balanceComponents } from '../../memory/balance.js'
import type { ComponentNeeds } from '../../memory/needs.js'
import { denoiserOf, heldOn, latentSize, needsOn, weightsOnly, type GenerationSize, type PlannedDevice } from './memory-needs.js'
import { storedType, type Network } from '../bind-network.js'
import { offeredMemory, resolveOffload, type MemoryBudgets, type ResolvedOffload } from './residence.js'
import type { DTypeName, LoadPipelineOptions } from '../types.js'
import type { DeviceName } from '../../memory/device-info.js'

/** What goes on one device, and how its weights stay there. */
export interface DevicePlace<D extends PlannedDevice> {
  readonly device: D
  /** Of the networks on it, in the order they run, for an image of the size that the denoiser was made for. */
  readonly needs: readonly ComponentNeeds[]
  /** Bytes that stay on it beside the network that runs. */
  readonly heldBytes: number
  readonly offload: ResolvedOffload
}

/** Which networks go where. */
export interface Placing<D extends PlannedDevice> {
  /** The type that networks compute in unless they have one of their own. */
  readonly dtype: DTypeName
  /** The device of every network. */
  readonly placed: ReadonlyMap<string, DeviceName>
  /** The devices that get networks. */
  readonly used: readonly DevicePlace<D>[]
}

/**
 * Decides where networks go, for a generation of the model's own size; opens and loads nothing.
 * @throws DeviceError `does-not-fit` with bytes needed and offered; `buffer-too-large` with the tensor
 */
export function decidePlaces<D extends PlannedDevice>(...parts: PlacingParts<D>): Placing<D> {
  const [, , , networks] = parts
  const usual = latentSize(networks)
  try {
    return decideFor(usual, ...parts)
  } catch (error) {
    if (!isAquatintError(error) || error.code !== 'does-not-fit') throw error
    try {
      // What only ever runs without guidance, as distilled models do, is not to be refused for what guidance would take.
      return decideFor({ ...usual, guided: false }, ...parts)
    } catch {
      throw error
    }
  }
}

type PlacingParts<D extends PlannedDevice> = readonly [
  devices: readonly D[],
  places: ReadonlyMap<string, DeviceName> | null,
  budgets: MemoryBudgets,
  networks: ReadonlyMap<string, Network>,
  options: Pick<LoadPipelineOptions, 'offload' | 'vaeTiling'>,
]

function decideFor<D extends PlannedDevice>(
  size: GenerationSize,
  ...[devices, places, budgets, networks, { vaeTiling, offload: asked }]: PlacingParts<D>
): Placing<D> {
  const denoiser = denoiserOf(networks)
  const dtype = denoiser === undefined ? 'float32' : (denoiser.dtype ?? storedType(denoiser.table))
  const request = { networks, dtype, vaeTiling, size }
  const offers = devices.map((device) => {
    const { name, kind, maxBufferSize } = device.info
    const here = (network: string) => places === null || places.get(network) === name
    const all = needsOn({ ...request, device, here })
    const needs = kind === 'wasm' ? all.map((need) => weightsOnly(need)) : all
    // Where any network may come, the denoiser may.
    const heldBytes = heldOn({ ...request, device }, needs)
    return { device, name, maxMemory: offeredMemory(budgets, device.info), maxBufferSize, heldBytes, needs }
  })
  const placed = places ?? balanceComponents(offers)
  const used = offers.flatMap(({ device, name, needs }) => {
    const own = needs.filter((need) => placed.get(need.name) === name)
    if (own.length === 0) return []
    const heldBytes = heldOn({ ...request, device }, own)
    // Balanced places were chosen so that all stay in them.
    const mode = places === null ? 'resident' : asked
    return [
      { device, needs: own, heldBytes, offload: resolveOffload({ mode, needs: own, heldBytes, budgets, device: device.info }) },
    ]
  })
  return { dtype, placed, used }
}
