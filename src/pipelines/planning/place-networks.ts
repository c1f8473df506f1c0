/**
 * Decides which network goes on which device, and how long its weights stay there, from the options `deviceMap`, `maxMemory` and `offload`. It opens and
 * loads nothing.
 */

import { balanceComponents } from '../../memory/balance.js'
import { budgetOn, type Budget } from '../../memory/budget.js'
import type { DeviceName } from '../../memory/device-info.js'
import type { ComponentNeeds } from '../../memory/needs.js'
import type { Residence } from '../../memory/plan.js'
import { isRefusal, type Refusal } from '../../memory/refusal.js'
import { denoiserOf, heldOn, latentSize, needsOn, weightsOnly, type GenerationSize, type PlannedDevice } from './memory-needs.js'
import { storedType, type Network } from '../bind-network.js'
import { chooseResidence, offeredMemory } from './residence.js'
import type { DTypeName, LoadPipelineOptions } from '../types.js'

/** The networks on one device, and how long their weights stay there. */
export interface DevicePlace<D extends PlannedDevice> {
  readonly device: D
  /** Needs of the networks on the device, in the order they run, for the generation that {@link decidePlaces} found to fit. */
  readonly needs: readonly ComponentNeeds[]
  /** Bytes that stay on the device beside the network that runs. */
  readonly heldBytes: number
  readonly offload: Residence
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

/** The arguments of {@link decidePlaces}. */
export interface PlacingRequest<D extends PlannedDevice> {
  readonly devices: readonly D[]
  /** The device of each network, by name. Null: the needs of the networks decide. */
  readonly places: ReadonlyMap<string, DeviceName> | null
  readonly budget: Budget
  readonly networks: ReadonlyMap<string, Network>
  readonly options: Pick<LoadPipelineOptions, 'offload' | 'vaeTiling'>
  /** The generation that the caller wants. It is computed only if a generation of the model's own size does not fit. */
  readonly wanted: () => GenerationSize
}

/**
 * Decides where networks go: for a generation of the model's own size with guidance; if it does not fit, without guidance; and if that
 * does not fit either, for the wanted generation, which may need less memory. A refusal is about the wanted generation. It says
 * `does-not-fit` with bytes needed and offered, or `buffer-too-large` with the tensor.
 * @throws what `wanted` throws
 */
export function decidePlaces<D extends PlannedDevice>(request: PlacingRequest<D>): Placing<D> | Refusal {
  const usual = latentSize(request.networks)
  // Distilled models run without guidance: they are not refused for the memory that guidance would take.
  for (const size of [usual, { ...usual, guided: false }]) {
    const placing = placesFor(size, request)
    if (!isRefusal(placing)) return placing
  }
  return placesFor(request.wanted(), request)
}

function placesFor<D extends PlannedDevice>(size: GenerationSize, request: PlacingRequest<D>): Placing<D> | Refusal {
  const { devices, places, budget, networks, options } = request
  const denoiser = denoiserOf(networks)
  const dtype = denoiser === undefined ? 'float32' : (denoiser.dtype ?? storedType(denoiser.table))
  const generation = { networks, dtype, vaeTiling: options.vaeTiling, size }
  const offers = devices.map((device) => {
    const { name, maxBufferSize, capabilities } = device.info
    const here = (network: string) => places === null || places.get(network) === name
    const all = needsOn({ ...generation, device, here })
    const needs = capabilities.countsActivations ? all : all.map((need) => weightsOnly(need))
    // A device that may get any network may get the denoiser, and with it the tensors that stay beside the denoiser.
    const heldBytes = heldOn({ ...generation, device }, needs)
    const maxMemory = offeredMemory(budgetOn(budget, device.info), device.info)
    return { device, name, isFast: capabilities.isFast, maxMemory, maxBufferSize, heldBytes, needs }
  })
  const placed = places ?? balanceComponents(offers)
  if (isRefusal(placed)) return placed
  const used: DevicePlace<D>[] = []
  for (const { device, name, needs: all } of offers) {
    const needs = all.filter((need) => placed.get(need.name) === name)
    if (needs.length === 0) continue
    const heldBytes = heldOn({ ...generation, device }, needs)
    // Balanced places are chosen so that all weights stay.
    const mode = places === null ? 'resident' : options.offload
    const offload = chooseResidence({ mode, needs, heldBytes, budget: budgetOn(budget, device.info), device: device.info })
    if (isRefusal(offload)) return offload
    used.push({ device, needs, heldBytes, offload })
  }
  return { dtype, placed, used }
}
