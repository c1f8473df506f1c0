/** Which component runs on which of several devices: as the caller says by name, or balanced by how much memory each offers. Pure. */

import { DeviceError, InputError } from '../errors.js'
import { leastActivations, weightBytes, type ComponentNeeds } from './memory-estimate.js'
import { formatBytes } from '../util/format-bytes.js'
import type { DeviceName } from './types.js'

/** All devices that can be named. */
export const deviceNames: readonly DeviceName[] = ['webgpu', 'webgpu:1', 'wasm']

/** Component name → device name. Components left out go to the device named `''` or, without one, to the pipeline's `device`. */
export type DeviceMap = Readonly<Record<string, DeviceName>>

/** A device to choose: how many bytes of memory it offers, and what each component needs there. */
export interface DeviceOffer {
  readonly name: DeviceName
  readonly maxMemory: number
  readonly needs: readonly ComponentNeeds[]
}

function shown(value: unknown): string {
  return (JSON.stringify(value) ?? typeof value).slice(0, 100)
}

/** @throws InputError `bad-device-map` for what is neither `balanced` nor an object of device names */
export function checkDeviceMap(map: unknown): asserts map is DeviceMap | 'balanced' | undefined {
  if (map === undefined || map === 'balanced') return
  if (typeof map !== 'object' || map === null || Array.isArray(map))
    throw new InputError(
      'bad-device-map',
      `deviceMap is ${shown(map)}; it must be 'balanced' or an object of devices by component.`,
      {
        actual: shown(map),
        allowed: ['balanced'],
      },
    )
  for (const [component, device] of Object.entries(map)) {
    if (deviceNames.includes(device as DeviceName)) continue
    throw new InputError(
      'bad-device-map',
      `deviceMap puts ${JSON.stringify(component.slice(0, 100))} on ${shown(device)}; the devices are ${deviceNames.join(', ')}.`,
      { component: component.slice(0, 100), device: shown(device), allowed: deviceNames },
    )
  }
}

/** @throws InputError `bad-device-map` for a component that is none of the pipeline's */
export function checkMappedComponents(map: DeviceMap, components: readonly string[]): void {
  for (const component of Object.keys(map)) {
    if (component === '' || components.includes(component)) continue
    throw new InputError(
      'bad-device-map',
      `deviceMap names ${JSON.stringify(component.slice(0, 100))}; the networks of this pipeline are ${components.join(', ')}.`,
      { component: component.slice(0, 100), allowed: components },
    )
  }
}

/** The device that the map names for a component, or undefined where it leaves it out. */
export function mappedDevice(map: DeviceMap, component: string): DeviceName | undefined {
  if (component !== '' && Object.hasOwn(map, component)) return map[component]
  return Object.hasOwn(map, '') ? map[''] : undefined
}

/** A device while components are put on it. */
interface Place {
  readonly offer: DeviceOffer
  weights: number
  /** The most that a run on it holds: runs come one after the other. */
  activations: number
}

/**
 * The device of every component so that all can stay where they are, as diffusers' `device_map='balanced'`: each, the largest first,
 * goes to the GPU that has most room left with it, and to the CPU, which is far slower, only where no GPU has room. @throws DeviceError `does-not-fit` with bytes needed and offered, by device
 */
export function balanceComponents(offers: readonly DeviceOffer[]): ReadonlyMap<string, DeviceName> {
  const places = offers.map((offer): Place => ({ offer, weights: 0, activations: 0 }))
  const largest = new Map<string, number>()
  for (const { needs } of offers)
    for (const need of needs) largest.set(need.name, Math.max(largest.get(need.name) ?? 0, bytesOf(need)))
  const placed = new Map<string, DeviceName>()
  for (const [component] of [...largest].toSorted((a, b) => b[1] - a[1])) {
    const choices = places.flatMap((place) => {
      const need = place.offer.needs.find(({ name }) => name === component)
      return need === undefined ? [] : [{ place, need, left: roomWith(place, need) }]
    })
    const onGpu = choices.filter(({ place, left }) => place.offer.name !== 'wasm' && left >= 0)
    const [best] = (onGpu.length > 0 ? onGpu : choices).toSorted((a, b) => b.left - a.left)
    if (best === undefined || best.left < 0) throw fitsNowhere(component, choices)
    best.place.weights += weightBytes(best.need)
    best.place.activations = Math.max(best.place.activations, leastActivations(best.need))
    placed.set(component, best.place.offer.name)
  }
  return placed
}

/** What is left of a device's memory with one more component; negative where it does not fit. */
function roomWith({ offer, weights, activations }: Place, need: ComponentNeeds): number {
  return offer.maxMemory - weights - weightBytes(need) - Math.max(activations, leastActivations(need))
}

function bytesOf(need: ComponentNeeds): number {
  return weightBytes(need) + leastActivations(need)
}

function fitsNowhere(
  component: string,
  choices: readonly { readonly place: Place; readonly need: ComponentNeeds; readonly left: number }[],
): DeviceError {
  const told = choices.map(({ place: { offer, weights }, need }) => {
    const [needed, left] = [bytesOf(need), offer.maxMemory - weights]
    return `${offer.name} offers ${offer.maxMemory} (${formatBytes(offer.maxMemory)}), of which ${left} are left, and it needs ${needed} (${formatBytes(needed)}) there`
  })
  const byDevice = (value: (choice: (typeof choices)[number]) => number) =>
    Object.fromEntries(choices.map((choice) => [choice.place.offer.name, value(choice)]))
  return new DeviceError('does-not-fit', `${component} fits on no device, in bytes: ${told.join('; ') || 'there is none'}.`, {
    component,
    needed: byDevice(({ need }) => bytesOf(need)),
    left: byDevice(({ place: { offer, weights } }) => offer.maxMemory - weights),
    offered: byDevice(({ place: { offer } }) => offer.maxMemory),
  })
}
