/** Where a pipeline's weights stay between runs, from what the caller asked and what there is. Pure. */

import { InputError, isAquatintError } from '../errors.js'
import { weightBytes, type ComponentNeeds } from '../runtime/memory-estimate.js'
import { guessBudget, planMemory } from '../runtime/memory-plan.js'
import type { DeviceInfo } from '../runtime/types.js'
import type { OffloadMode } from './types.js'

/** What is done: all stay, one component at a time, or one component at a time with the denoiser's blocks streamed. */
export type ResolvedOffload = Exclude<OffloadMode, 'auto'>

const units: Readonly<Record<string, number>> = { B: 1, KB: 1e3, MB: 1e6, GB: 1e9, KIB: 2 ** 10, MIB: 2 ** 20, GIB: 2 ** 30 }

/** A budget in bytes from a number or from text such as '6GB' (10^9) or '6GiB' (2^30). @throws InputError `max-memory` */
export function parseMaxMemory(value: number | string | undefined): number | undefined {
  if (value === undefined) return undefined
  const match = typeof value === 'string' ? /^\s*(\d+(?:\.\d+)?)\s*([KMG]?i?B)\s*$/i.exec(value) : null
  const bytes = typeof value === 'number' ? value : Number(match?.[1]) * (units[match?.[2]?.toUpperCase() ?? ''] ?? Number.NaN)
  if (!Number.isFinite(bytes) || bytes < 1 || bytes > Number.MAX_SAFE_INTEGER)
    throw new InputError(
      'max-memory',
      `maxMemory is ${JSON.stringify(value)}; allowed are bytes, or text such as '6GB' or '6GiB'.`,
      {
        maxMemory: value,
      },
    )
  return Math.floor(bytes)
}

/** Weights that may stay in WebAssembly's heap, which holds 4 GiB with all else. */
const residentOnCpu = 1e9

/** What there is to decide by. */
export interface OffloadRequest {
  readonly mode: OffloadMode | undefined
  /** What the networks need for an image of the usual size, in the order they run. */
  readonly needs: readonly ComponentNeeds[]
  readonly maxMemory: number | undefined
  readonly device: DeviceInfo
}

/**
 * The mode for a pipeline on a device. `auto` takes the fastest whose plan fits `maxMemory`, or without one a cautious guess.
 * @throws InputError `offload`; DeviceError `does-not-fit` with the bytes needed when even the tightest plan is over `maxMemory`
 */
export function resolveOffload({ mode, needs, maxMemory, device }: OffloadRequest): ResolvedOffload {
  const asked: string = mode ?? 'auto'
  if (asked !== 'auto' && asked !== 'resident' && asked !== 'model' && asked !== 'block')
    throw new InputError('offload', `offload is ${JSON.stringify(mode)}; allowed are 'auto', 'resident', 'model' and 'block'.`, {
      offload: asked,
    })
  if (device.kind === 'wasm') {
    // Without a GPU weights belong to sessions, which cannot be streamed.
    if (asked !== 'auto') return asked === 'block' ? 'model' : asked
    return needs.reduce((sum, component) => sum + weightBytes(component), 0) <= (maxMemory ?? residentOnCpu)
      ? 'resident'
      : 'model'
  }
  if (maxMemory !== undefined) return planMemory(needs, { offload: asked, maxMemory }).residence
  if (asked !== 'auto') return asked
  try {
    return planMemory(needs, { offload: asked, maxMemory: guessBudget(device) }).residence
  } catch (error) {
    // Nobody set this budget: the device may well have more.
    if (isAquatintError(error) && error.code === 'does-not-fit') return 'block'
    throw error
  }
}
