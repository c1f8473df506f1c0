/** Where a pipeline's weights stay between runs, from what the caller asked and what there is. Pure. */

import { InputError } from '../errors.js'
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

/** Weights that may stay on a device nobody set a budget for. */
const residentByDefault: Readonly<Record<DeviceInfo['kind'], number>> = { webgpu: 4e9, wasm: 1e9 }

/**
 * The mode for weights of these sizes on the device. `auto` keeps all where they fit, else one component at a time; where the largest
 * does not fit either, its blocks are streamed. @throws InputError `offload`
 */
export function resolveOffload(
  mode: OffloadMode | undefined,
  componentBytes: readonly number[],
  maxMemory: number | undefined,
  kind: DeviceInfo['kind'],
): ResolvedOffload {
  const asked: string = mode ?? 'auto'
  if (asked === 'resident' || asked === 'model') return asked
  // Without a GPU weights belong to sessions, which cannot be streamed.
  if (asked === 'block') return kind === 'wasm' ? 'model' : 'block'
  if (asked !== 'auto')
    throw new InputError('offload', `offload is ${JSON.stringify(mode)}; allowed are 'auto', 'resident', 'model' and 'block'.`, {
      offload: asked,
    })
  const total = componentBytes.reduce((sum, bytes) => sum + bytes, 0)
  if (total <= (maxMemory ?? residentByDefault[kind])) return 'resident'
  const largest = Math.max(0, ...componentBytes)
  return maxMemory !== undefined && largest > maxMemory && kind === 'webgpu' ? 'block' : 'model'
}
