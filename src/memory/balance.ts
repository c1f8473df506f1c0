/** Decides on which of several devices each component runs: as the caller says, or balanced by the memory that each device offers. Pure. */

import { InputError } from '../errors.js'
import { weightBytes, type ComponentNeeds } from './needs.js'
import { leastActivations, withinBuffers } from './plan.js'
import { formatBytes } from '../util/format-bytes.js'
import { deviceNames, type DeviceName } from './device-info.js'
import { isRefusal, type Refusal } from './refusal.js'

/** Component name → device name. Components left out go to the device named `''` or, without one, to the pipeline's `device`. */
export type DeviceMap = Readonly<Record<string, DeviceName>>

/** A device to choose from: the bytes of memory that it offers, and what each component needs there. */
export interface DeviceOffer {
  readonly name: DeviceName
  /** Whether this device is filled before devices that are not fast: see `DeviceCapabilities.isFast`. */
  readonly isFast: boolean
  readonly maxMemory: number
  /** Bytes of tensors that stay on the device while components run there. Default: 0. */
  readonly heldBytes?: number | undefined
  /** Bytes of the largest buffer that the device allows. Absent: no limit. */
  readonly maxBufferSize?: number | undefined
  readonly needs: readonly ComponentNeeds[]
}

function shown(value: unknown): string {
  return (JSON.stringify(value) ?? typeof value).slice(0, 100)
}

/** @throws InputError `bad-device-map` for anything but `balanced` and objects of device names */
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

/** @throws InputError `bad-device-map` for a component that the pipeline does not have */
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

/** The device that the map names for a component. Undefined: the map leaves it out. */
export function mappedDevice(map: DeviceMap, component: string): DeviceName | undefined {
  if (component !== '' && Object.hasOwn(map, component)) return map[component]
  return Object.hasOwn(map, '') ? map[''] : undefined
}

/** A device, and what has been put on it so far. */
interface Place {
  readonly offer: DeviceOffer
  weights: number
  /** The largest activations of any run on the device: only one component runs at a time. */
  activations: number
}

/**
 * One choice of a device for a component: the bytes that the component would need there, and the bytes that would be left. These are
 * negative if the component does not fit.
 */
interface Choice {
  readonly place: Place
  readonly weights: number
  readonly activations: number
  readonly left: number
}

/**
 * Chooses a device for each component so that all components can stay there, as diffusers' `device_map='balanced'` does. The largest
 * component comes first. Each goes to the fast device that then has most memory left. If it fits on no fast device, it goes to the slow
 * device that then has most left.
 * A refusal says `does-not-fit` with bytes needed and offered, by device; or `buffer-too-large` if no device allows buffers that large.
 */
export function balanceComponents(offers: readonly DeviceOffer[]): ReadonlyMap<string, DeviceName> | Refusal {
  const places = offers.map((offer): Place => ({ offer, weights: 0, activations: 0 }))
  const largest = new Map<string, number>()
  for (const { needs } of offers)
    for (const need of needs) largest.set(need.name, Math.max(largest.get(need.name) ?? 0, bytesOf(need)))
  const placed = new Map<string, DeviceName>()
  for (const [component] of [...largest].toSorted((a, b) => b[1] - a[1])) {
    const answers = places.map((place) => choiceOf(place, component))
    const choices = answers.flatMap((answer) => (answer === undefined || isRefusal(answer) ? [] : [answer]))
    const onFast = choices.filter(({ place, left }) => place.offer.isFast && left >= 0)
    const [best] = (onFast.length > 0 ? onFast : choices).toSorted((a, b) => b.left - a.left)
    // A tensor may be too large for the buffers of one device and fit into those of another.
    if (best === undefined)
      return answers.find((answer) => answer !== undefined && isRefusal(answer)) ?? fitsNowhere(component, choices)
    if (best.left < 0) return fitsNowhere(component, choices)
    best.place.weights += best.weights
    best.place.activations = Math.max(best.place.activations, best.activations)
    placed.set(component, best.place.offer.name)
  }
  return placed
}

/** Undefined if the device's offer lists no needs of this component. A refusal if one of its tensors is too large for a buffer there. */
function choiceOf(place: Place, component: string): Choice | Refusal | undefined {
  const { maxMemory, heldBytes = 0, maxBufferSize, needs } = place.offer
  const runnable = withinBuffers(
    needs.filter(({ name }) => name === component),
    maxBufferSize,
  )
  if (isRefusal(runnable)) return runnable
  const [need] = runnable
  if (need === undefined) return undefined
  const [weights, activations] = [weightBytes(need), leastActivations(need)]
  const left = maxMemory - heldBytes - place.weights - weights - Math.max(place.activations, activations)
  return { place, weights, activations, left }
}

function bytesOf(need: ComponentNeeds): number {
  return weightBytes(need) + leastActivations(need)
}

function fitsNowhere(component: string, choices: readonly Choice[]): Refusal {
  const leftOf = ({ place: { offer, weights } }: Choice) => offer.maxMemory - (offer.heldBytes ?? 0) - weights
  const neededBy = ({ weights, activations }: Choice) => weights + activations
  const offered = choices.map((choice) => {
    const { name, maxMemory } = choice.place.offer
    const needed = neededBy(choice)
    return `${name} offers ${maxMemory} (${formatBytes(maxMemory)}), of which ${leftOf(choice)} are left, and it needs ${needed} (${formatBytes(needed)}) there`
  })
  const byDevice = (value: (choice: Choice) => number) =>
    Object.fromEntries(choices.map((choice) => [choice.place.offer.name, value(choice)]))
  return {
    refused: 'does-not-fit',
    message: `${component} fits on no device, in bytes: ${offered.join('; ') || 'there is none'}.`,
    details: {
      component,
      needed: byDevice(neededBy),
      left: byDevice(leftOf),
      offered: byDevice(({ place }) => place.offer.maxMemory),
    },
  }
}
