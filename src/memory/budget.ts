/** The option `maxMemory`: sizes in bytes as people write them ('6GB' is 6·10⁹, '6GiB' is 6·2³⁰), for all GPUs or by device. Pure. */

import { InputError } from '../errors.js'
import { deviceNames, type DeviceInfo, type DeviceName } from './device-info.js'

const units: Readonly<Record<string, number>> = {
  '': 1,
  B: 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KIB: 2 ** 10,
  MIB: 2 ** 20,
  GIB: 2 ** 30,
  TIB: 2 ** 40,
}

/** Whole bytes of a number or a text such as '6GB', '1.5 GiB' or '512mb'. @throws InputError `bad-memory-size` */
export function parseMemorySize(size: number | string, option = 'maxMemory'): number {
  const [, digits, unit] = (typeof size === 'string' && /^\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*$/i.exec(size)) || []
  const bytes = typeof size === 'number' ? size : Math.floor(Number(digits) * (units[(unit ?? '').toUpperCase()] ?? Number.NaN))
  if (Number.isSafeInteger(bytes) && bytes > 0) return bytes
  const given = typeof size === 'string' ? JSON.stringify(size.slice(0, 40)) : String(size)
  throw new InputError(
    'bad-memory-size',
    `${option} is ${given}; it must be a whole number of bytes or a text like '6GB' or '6GiB'.`,
    {
      option,
      actual: typeof size === 'string' ? size.slice(0, 40) : Number.isFinite(size) ? size : String(size),
    },
  )
}

/** `maxMemory` as a caller writes it: one size for each GPU, or sizes by device. */
export type MaxMemory = number | string | Readonly<Partial<Record<DeviceName, number | string>>>

/** `maxMemory` in bytes. */
export interface Budget {
  /** The size for each GPU, if the caller gave a single size. */
  readonly eachGpu: number | undefined
  /** The sizes of devices that the caller named. */
  readonly named: ReadonlyMap<DeviceName, number>
}

/** @throws InputError `bad-memory-size`, `bad-device` */
export function parseBudget(maxMemory: MaxMemory | undefined): Budget {
  if (typeof maxMemory !== 'object' || maxMemory === null)
    return { eachGpu: maxMemory === undefined ? undefined : parseMemorySize(maxMemory), named: new Map() }
  const named = new Map<DeviceName, number>()
  for (const [device, size] of Object.entries(maxMemory)) {
    const name = deviceNames.find((known) => known === device)
    if (name === undefined)
      throw new InputError(
        'bad-device',
        `maxMemory names ${JSON.stringify(device.slice(0, 100))}; the devices are ${deviceNames.join(', ')}.`,
        { device: device.slice(0, 100), allowed: deviceNames },
      )
    if (size !== undefined) named.set(name, parseMemorySize(size, `maxMemory[${JSON.stringify(name)}]`))
  }
  return { eachGpu: undefined, named }
}

/** The budget of one device, in bytes. */
export interface DeviceBudget {
  /** The limit of everything that the device's account counts: a plan that needs more is refused. Undefined: the caller set no limit. */
  readonly limit?: number | undefined
  /** The bytes that a run should stay within, on a device whose account counts no activations. It decides on tiles and refuses nothing. */
  readonly target?: number | undefined
}

/** The part of a budget that applies to one device. A size that the caller gave for each GPU limits a GPU; on the CPU it is only a target. */
export function budgetOn({ eachGpu, named }: Budget, { name, capabilities }: DeviceInfo): DeviceBudget {
  const limit = named.get(name)
  return capabilities.countsActivations ? { limit: limit ?? eachGpu } : { limit, target: eachGpu }
}
