/**
 * From the options `device`, `deviceMap`, `maxMemory` and `offload` to hosts: which devices are opened, which network goes on which, and
 * how its weights stay there. Knows no pipeline's order of work.
 */

import { InputError, isAquatintError } from '../../errors.js'
import { balanceComponents, checkDeviceMap, checkMappedComponents, mappedDevice, type DeviceMap } from '../../memory/balance.js'
import { MemoryAccount } from '../../runtime/memory-account.js'
import type { ComponentNeeds } from '../../memory/needs.js'
import { checkDeviceKind, listDevices, openDevice } from '../../runtime/open-device.js'
import type { Device, DeviceName } from '../../runtime/types.js'
import { ComponentHost } from '../execution/component-host.js'
import { DeviceHosts } from '../execution/device-hosts.js'
import { denoiserOf, heldOn, latentSize, needsOn, weightsOnly, type GenerationSize, type PlannedDevice } from './memory-needs.js'
import { storedType, type Network } from '../bind-network.js'
import {
  checkOffload,
  generationBudgets,
  offeredMemory,
  parseBudgets,
  resolveOffload,
  type MemoryBudgets,
  type ResolvedOffload,
} from './residence.js'
import type { DTypeName, LoadPipelineOptions } from '../types.js'

/** The devices of a pipeline, open, with nothing on them yet. */
export interface OpenDevices {
  readonly devices: ReadonlyMap<DeviceName, Device>
  /** The device of each network, or null where the networks' needs decide. */
  readonly places: ReadonlyMap<string, DeviceName> | null
  readonly budgets: MemoryBudgets
  /** Counts the memory of all of them. */
  readonly total: MemoryAccount
}

/** Checks what the caller says about devices and memory. @throws InputError `bad-device`, `bad-device-map`, `bad-memory-size`, `offload` */
export function checkPlacing({ device, deviceMap, maxMemory, offload }: LoadPipelineOptions): void {
  checkDeviceKind(device)
  checkDeviceMap(deviceMap)
  checkOffload(offload)
  parseBudgets(maxMemory)
  if (deviceMap !== 'balanced') return
  if (device !== undefined && device !== 'auto')
    throw new InputError(
      'bad-device-map',
      `deviceMap 'balanced' chooses the devices itself, so device ${device} cannot be kept.`,
      {
        device,
      },
    )
  if (offload === 'model' || offload === 'block')
    throw new InputError(
      'bad-device-map',
      `deviceMap 'balanced' places components so that all stay, so offload is 'resident', not '${offload}'; a map by name goes with any.`,
      { offload },
    )
}

/**
 * Opens the devices for these networks.
 * @throws InputError `bad-device-map`; DeviceError `webgpu-not-available`, `no-second-adapter`, `runtime-not-loaded`
 */
export async function openDevices(options: LoadPipelineOptions, networks: readonly string[]): Promise<OpenDevices> {
  const { device, deviceMap } = options
  const budgets = parseBudgets(options.maxMemory)
  const total = new MemoryAccount()
  const devices = new Map<DeviceName, Device>()
  const open = async (name: DeviceName | 'auto' | undefined): Promise<DeviceName> => {
    const known = name === undefined || name === 'auto' ? undefined : devices.get(name)
    if (known !== undefined) return known.info.name
    const opened = await openDevice({ kind: name, total })
    devices.set(opened.info.name, opened)
    return opened.info.name
  }
  try {
    if (deviceMap === 'balanced') {
      for (const name of budgets.named.size > 0 ? budgets.named.keys() : await listDevices()) await open(name)
      return { devices, places: null, budgets, total }
    }
    return { devices, places: await placeByName(deviceMap ?? {}, device, networks, open), budgets, total }
  } catch (error) {
    for (const opened of devices.values()) await opened.dispose()
    throw error
  }
}

async function placeByName(
  map: DeviceMap,
  otherwise: LoadPipelineOptions['device'],
  networks: readonly string[],
  open: (name: DeviceName | 'auto' | undefined) => Promise<DeviceName>,
): Promise<ReadonlyMap<string, DeviceName>> {
  checkMappedComponents(map, networks)
  // The one for what is left out comes first: where it is `auto`, it may be one that the map names.
  const left = networks.some((network) => mappedDevice(map, network) === undefined) ? await open(otherwise) : undefined
  const places = new Map<string, DeviceName>()
  for (const network of networks) {
    const named = mappedDevice(map, network)
    const place = named === undefined ? left : await open(named)
    if (place !== undefined) places.set(network, place)
  }
  return places
}

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

/** Puts networks on devices. Those that get none are closed. @throws DeviceError `does-not-fit` with bytes needed and offered; `buffer-too-large` */
export async function placeNetworks(
  { devices, places, budgets, total }: OpenDevices,
  networks: ReadonlyMap<string, Network>,
  options: LoadPipelineOptions,
): Promise<DeviceHosts> {
  const { dtype, placed, used } = decidePlaces([...devices.values()], places, budgets, networks, options)
  const hosts = new Map<DeviceName, ComponentHost>()
  for (const { device, offload, heldBytes } of used) {
    const { vaeTiling } = options
    const memory = generationBudgets(budgets, device.info)
    hosts.set(device.info.name, new ComponentHost({ device, dtype, offload, ...memory, vaeTiling, heldBytes, total }))
  }
  for (const [name, device] of devices) if (!hosts.has(name)) await device.dispose()
  return new DeviceHosts(hosts, placed, networks, total)
}
