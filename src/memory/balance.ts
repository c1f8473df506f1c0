/** Which component runs on which of several devices: as the caller says by name, or balanced by how much memory each offers. Pure. */

import { DeviceError, InputError } from '../errors.js'
import { weightBytes, type ComponentNeeds } from './needs.js'
import { leastActivations } from './plan.js'
import { formatBytes } from '../util/format-bytes.js'
import type { DeviceName } from './device-info.js'

/** All devices that can be named. */
export const deviceNames: readonly DeviceName[] = ['webgpu', 'webgpu:1', 'wasm']

/** Component name → device name. Components left out go to the device named `''` or, without one, to the pipeline's `device`. */
export type DeviceMap = Readonly<Record<string, DeviceName>>

/** A device to choose: how many bytes of memory it offers, and what each component needs there. */
export interface DeviceOffer {
  readonly name: DeviceName
  readonly maxMemory: number
  /** Bytes that stay on it beside components while they run; 0 unless said. */
  readonly heldBytes?: number | undefined
  /** Bytes of its largest buffer. Absent: any. */
  readonly maxBufferSize?: number | undefined
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

/** A device for one component: what the component would take there, and what would be left; negative where it does not fit. */
interface Choice {
  readonly place: Place
  readonly weights: number
  readonly activations: number
  readonly left: number
}

/**
 * The device of every component so that all can stay where they are, as diffusers' `device_map='balanced'`: each, the largest first,
 * goes to the GPU that has most room left with it, and to the CPU, which is far slower, only where no GPU has room.
 * @throws DeviceError `does-not-fit` with bytes needed and offered, by device; `buffer-too-large` where that is what no device offers
 */
export function balanceComponents(offers: readonly DeviceOffer[]): ReadonlyMap<string, DeviceName> {
  const places = offers.map((offer): Place => ({ offer, weights: 0, activations: 0 }))
  const largest = new Map<string, number>()
  for (const { needs } of offers)
    for (const need of needs) largest.set(need.name, Math.max(largest.get(need.name) ?? 0, bytesOf(need)))
  const placed = new Map<string, DeviceName>()
  for (const [component] of [...largest].toSorted((a, b) => b[1] - a[1])) {
    const refusals: unknown[] = []
    const choices = places.flatMap((place) => {
      try {
        return choiceOf(place, component) ?? []
      } catch (error) {
        // A tensor larger than any buffer of this device: another one may have larger ones.
        refusals.push(error)
        return []
      }
    })
    const onGpu = choices.filter(({ place, left }) => place.offer.name !== 'wasm' && left >= 0)
    const [best] = (onGpu.length > 0 ? onGpu : choices).toSorted((a, b) => b.left - a.left)
    if (best === undefined && refusals.length > 0) throw refusals[0]
    if (best === undefined || best.left < 0) throw fitsNowhere(component, choices)
    best.place.weights += best.weights
    best.place.activations = Math.max(best.place.activations, best.activations)
    placed.set(component, best.place.offer.name)
  }
  return placed
}

/** Undefined where the device is not one for the component. @throws DeviceError `buffer-too-large` */
function choiceOf(place: Place, component: string): Choice | undefined {
  const { maxMemory, heldBytes = 0, maxBufferSize, needs } = place.offer
  const need = needs.find(({ name }) => name === component)
  if (need === undefined) return undefined
  const [weights, activations] = [weightBytes(need), leastActivations(need, maxBufferSize)]
  const left = maxMemory - heldBytes - place.weights - weights - Math.max(place.activations, activations)
  return { place, weights, activations, left }
}

function bytesOf(need: ComponentNeeds): number {
  return weightBytes(need) + leastActivations(need)
}

function fitsNowhere(component: string, choices: readonly Choice[]): DeviceError {
  const leftOf = ({ place: { offer, weights } }: Choice) => offer.maxMemory - (offer.heldBytes ?? 0) - weights
  const neededBy = ({ weights, activations }: Choice) => weights + activations
  const told = choices.map((choice) => {
    const { name, maxMemory } = choice.place.offer
    const needed = neededBy(choice)
    return `${name} offers ${maxMemory} (${formatBytes(maxMemory)}), of which ${leftOf(choice)} are left, and it needs ${needed} (${formatBytes(needed)}) there`
  })
  const byDevice = (value: (choice: Choice) => number) =>
    Object.fromEntries(choices.map((choice) => [choice.place.offer.name, value(choice)]))
  return new DeviceError('does-not-fit', `${component} fits on no device, in bytes: ${told.join('; ') || 'there is none'}.`, {
    component,
    needed: byDevice(neededBy),
    left: byDevice(leftOf),
    offered: byDevice(({ place }) => place.offer.maxMemory),
  })
}
