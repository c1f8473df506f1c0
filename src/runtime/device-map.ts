/** Which component runs on which of several devices: as the caller says by name, or balanced by how much memory each offers. Pure. */

import { DeviceError, InputError } from '../errors.js'
import { weightBytes, type ComponentNeeds } from './memory-estimate.js'
import { formatBytes } from './memory-size.js'

/** Component name → device name. Components left out go to the device named '' or, without one, to the first device. */
export type DeviceMap = Readonly<Record<string, string>>

/** A device to choose: its name and how many bytes of memory it offers. */
export interface DeviceOffer {
  readonly name: string
  readonly maxMemory: number
}

/**
 * The device of every component. `balanced` gives each component, the largest first, to the device that has most room left for it, as
 * diffusers' `device_map='balanced'`. @throws InputError `bad-device-map`, DeviceError `does-not-fit` with bytes needed and offered
 */
export function placeComponents(
  needs: readonly ComponentNeeds[],
  map: DeviceMap | 'balanced',
  devices: readonly DeviceOffer[],
): Readonly<Record<string, string>> {
  return map === 'balanced' ? balance(needs, devices) : asSaid(needs, map, devices)
}

function asSaid(needs: readonly ComponentNeeds[], map: DeviceMap, devices: readonly DeviceOffer[]): Record<string, string> {
  const names = new Set(devices.map(({ name }) => name))
  const components = new Set(needs.map(({ name }) => name))
  for (const [component, device] of Object.entries(map)) {
    if (component !== '' && !components.has(component))
      throw new InputError('bad-device-map', `deviceMap names ${component}; the pipeline has ${[...components].join(', ')}.`, {
        component,
        allowed: [...components],
      })
    if (!names.has(device))
      throw new InputError('bad-device-map', `deviceMap puts ${component} on ${device}; there are ${[...names].join(', ')}.`, {
        device,
        allowed: [...names],
      })
  }
  const otherwise = map[''] ?? devices[0]?.name ?? ''
  return Object.fromEntries(needs.map(({ name }) => [name, map[name] ?? otherwise]))
}

function balance(needs: readonly ComponentNeeds[], devices: readonly DeviceOffer[]): Record<string, string> {
  const left = new Map(devices.map(({ name, maxMemory }) => [name, maxMemory]))
  const placed: Record<string, string> = {}
  // Runs come one after the other, but each device keeps room for the largest of its own.
  const sorted = needs.map((component) => ({ component, bytes: weightBytes(component) + component.activationBytes }))
  for (const { component, bytes } of sorted.toSorted((a, b) => b.bytes - a.bytes)) {
    const [device, room] = [...left].toSorted((a, b) => b[1] - a[1])[0] ?? ['', 0]
    if (room < bytes) {
      const message = `${component.name} needs ${bytes} bytes (${formatBytes(bytes)}); no device has more than ${room} (${formatBytes(room)}) left.`
      const offered = Object.fromEntries(devices.map(({ name, maxMemory }) => [name, maxMemory]))
      throw new DeviceError('does-not-fit', message, { component: component.name, needed: bytes, left: room, offered })
    }
    left.set(device, room - bytes)
    placed[component.name] = device
  }
  return Object.fromEntries(needs.map(({ name }) => [name, placed[name] ?? '']))
}
