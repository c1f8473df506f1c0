/**
 * Which devices the options `device`, `deviceMap` and `maxMemory` select. Loading and planning in the page open these devices; the
 * command line plans for devices that it only describes.
 */

import type { Budget } from '../../memory/budget.js'
import { checkMappedComponents, mappedDevice, type DeviceMap } from '../../memory/balance.js'
import type { DeviceName } from '../../memory/device-info.js'
import type { PlannedDevice } from '../planning/memory-needs.js'
import type { LoadPipelineOptions } from '../types.js'

/** Lists and opens devices. */
export interface DeviceSource<D extends PlannedDevice> {
  /** The devices that `deviceMap: 'balanced'` uses if `maxMemory` names none. */
  readonly list: () => Promise<readonly DeviceName[]>
  /** The device of a name; for `auto` and undefined, the one that the source prefers. */
  readonly open: (name: DeviceName | 'auto' | undefined) => Promise<D>
}

/** The devices for a pipeline's networks. */
export interface ChosenDevices<D extends PlannedDevice> {
  readonly devices: ReadonlyMap<DeviceName, D>
  /** The device of each network. Null: the memory needs of the networks decide. */
  readonly places: ReadonlyMap<string, DeviceName> | null
  /** The caller's `maxMemory`. */
  readonly budget: Budget
}

/** Opens every device that the options call for, once. @throws InputError `bad-device-map`; what `source.open` throws */
export async function chooseDevices<D extends PlannedDevice>(
  source: DeviceSource<D>,
  { device, deviceMap }: Pick<LoadPipelineOptions, 'device' | 'deviceMap'>,
  budget: Budget,
  networks: readonly string[],
): Promise<ChosenDevices<D>> {
  const devices = new Map<DeviceName, D>()
  const open = async (name: DeviceName | 'auto' | undefined): Promise<DeviceName> => {
    const known = name === undefined || name === 'auto' ? undefined : devices.get(name)
    if (known !== undefined) return known.info.name
    const opened = await source.open(name)
    devices.set(opened.info.name, opened)
    return opened.info.name
  }
  if (deviceMap === 'balanced') {
    for (const name of budget.named.size > 0 ? budget.named.keys() : await source.list()) await open(name)
    return { devices, places: null, budget }
  }
  return { devices, places: await placeByName(deviceMap ?? {}, device, networks, open), budget }
}

async function placeByName(
  map: DeviceMap,
  otherwise: LoadPipelineOptions['device'],
  networks: readonly string[],
  open: (name: DeviceName | 'auto' | undefined) => Promise<DeviceName>,
): Promise<ReadonlyMap<string, DeviceName>> {
  checkMappedComponents(map, networks)
  // The device of the networks that the map leaves out is opened first: `auto` may turn out to be a device that the map names.
  const left = networks.some((network) => mappedDevice(map, network) === undefined) ? await open(otherwise) : undefined
  const places = new Map<string, DeviceName>()
  for (const network of networks) {
    const named = mappedDevice(map, network)
    const place = named === undefined ? left : await open(named)
    if (place !== undefined) places.set(network, place)
  }
  return places
}
