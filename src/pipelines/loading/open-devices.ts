import { InputError } from '../../errors.js'
import { checkDeviceMap, checkMappedComponents, mappedDevice, type DeviceMap } from '../../memory/balance.js'
import { MemoryAccount } from '../../runtime/memory-account.js'
import { checkDeviceKind, listDevices, openDevice } from '../../runtime/open-device.js'
import { ComponentHost } from '../execution/component-host.js'
import { DeviceHosts } from '../execution/device-hosts.js'
import type { Network } from '../bind-network.js'
import { checkOffload, generationBudgets, parseBudgets, type MemoryBudgets } from '../planning/residence.js'
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
