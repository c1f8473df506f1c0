import { InputError } from '../../errors.js'
import { checkDeviceMap, checkMappedComponents, mappedDevice, type DeviceMap } from '../../memory/balance.js'
import { MemoryAccount } from '../../runtime/memory-account.js'
import { checkDeviceKind, listDevices, openDevice } from '../../runtime/open-device.js'
import { ComponentHost } from '../execution/component-host.js'
import { DeviceHosts } from '../execution/device-hosts.js'
import type { Network } from '../bind-network.js'
import { budgetOn, parseBudget, type Budget } from '../../memory/budget.js'
import { orThrow } from '../../memory/refusal.js'
import { checkOffload } from '../planning/residence.js'
import type { LoadPipelineOptions } from '../types.js'
import type { DeviceName } from '../../memory/device-info.js'
import { decidePlaces } from '../planning/place-networks.js'
import type { Device } from '../../runtime/device.js'

/** TODO: say what this file is. */

/** The devices of a pipeline, open, with nothing on them yet. */
export interface OpenDevices {
  readonly devices: ReadonlyMap<DeviceName, Device>
  /** The device of each network, or null where the networks' needs decide. */
  readonly places: ReadonlyMap<string, DeviceName> | null
  /** The caller's `maxMemory`. */
  readonly budget: Budget
  /** Counts the memory of all of them. */
  readonly total: MemoryAccount
}

/** Checks what the caller says about devices and memory, and gives `maxMemory` in bytes. @throws InputError `bad-device`, `bad-device-map`, `bad-memory-size`, `offload` */
export function checkPlacing({ device, deviceMap, maxMemory, offload }: LoadPipelineOptions): Budget {
  checkDeviceKind(device)
  checkDeviceMap(deviceMap)
  checkOffload(offload)
  const budget = parseBudget(maxMemory)
  if (deviceMap !== 'balanced') return budget
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
  return budget
}

/**
 * Opens the devices for these networks.
 * @throws InputError `bad-device-map`; DeviceError `webgpu-not-available`, `no-second-adapter`, `runtime-not-loaded`
 */
export async function openDevices(
  options: Pick<LoadPipelineOptions, 'device' | 'deviceMap'>,
  networks: readonly string[],
  budget: Budget,
): Promise<OpenDevices> {
  const { device, deviceMap } = options
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
      for (const name of budget.named.size > 0 ? budget.named.keys() : await listDevices()) await open(name)
      return { devices, places: null, budget, total }
    }
    return { devices, places: await placeByName(deviceMap ?? {}, device, networks, open), budget, total }
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

/** Puts networks on devices. Those that get none are closed. @throws DeviceError `does-not-fit` with bytes needed and offered; `buffer-too-large` */
export async function placeNetworks(
  { devices, places, budget, total }: OpenDevices,
  networks: ReadonlyMap<string, Network>,
  options: LoadPipelineOptions,
): Promise<DeviceHosts> {
  const { dtype, placed, used } = orThrow(decidePlaces({ devices: [...devices.values()], places, budget, networks, options }))
  const hosts = new Map<DeviceName, ComponentHost>()
  for (const { device, offload, heldBytes } of used) {
    const { vaeTiling } = options
    const own = budgetOn(budget, device.info)
    hosts.set(device.info.name, new ComponentHost({ device, dtype, offload, budget: own, vaeTiling, heldBytes, total }))
  }
  for (const [name, device] of devices) if (!hosts.has(name)) await device.dispose()
  return new DeviceHosts(hosts, placed, networks, total)
}
