/**
 * What to try after a device failed, step by step: a lost device is rebuilt once, out of memory tightens the residence, then leaves weights
 * less room, then tiles the VAE, and what is left is an error. A value that decides; opening devices, budgets and going on from the last step
 * are the pipeline's.
 */

import { DeviceError, isAquatintError, type AquatintError } from '../errors.js'
import type { Residence } from '../memory/plan.js'

/** How a pipeline runs now, and what the network that failed could still do with less of. */
export interface Setup {
  readonly residence: Residence
  /** Whether the device can stream blocks. */
  readonly canStream: boolean
  /** Whether the network's weights can do with less room than they have. */
  readonly canShrink: boolean
  /** Whether it can work in smaller tiles. */
  readonly canTile: boolean
}

/** What to do before going on. */
export type Recovery =
  | { readonly action: 'rebuild' }
  | { readonly action: 'tighten'; readonly residence: Residence }
  | { readonly action: 'shrink' }
  | { readonly action: 'tile' }
  | { readonly action: 'fail'; readonly error: Error }

/** A second loss within this time is not tried again. */
const lossWindowMs = 120_000

export class RecoveryLadder {
  readonly #now: () => number
  /** The device lost last, when that was told, and how long after the one before. */
  #loss: { readonly device: object; readonly at: number; readonly since: number } | undefined

  /** `now` gives milliseconds that only grow. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now
  }

  /** The next step for `error` of `device` under `setup`. Errors that are not a device's fail as they are. */
  next(error: unknown, setup: Setup, device: object): Recovery {
    if (isAquatintError(error, 'device-lost')) return this.#afterLoss(error, device)
    if (isAquatintError(error, 'out-of-memory', 'does-not-fit')) return afterOutOfMemory(error, setup)
    return { action: 'fail', error: error instanceof Error ? error : new Error(String(error)) }
  }

  #afterLoss(error: AquatintError, device: object): Recovery {
    const now = this.#now()
    const before = this.#loss
    // A device goes once, however often it is asked afterwards: until another stands in its place, say where none can be opened.
    const loss = before?.device === device ? before : { device, at: now, since: now - (before?.at ?? Number.NEGATIVE_INFINITY) }
    this.#loss = loss
    if (loss.since >= lossWindowMs || now - loss.at >= lossWindowMs) return { action: 'rebuild' }
    const seconds = Math.round(loss.since / 1000)
    const message = `The GPU device was lost twice within ${seconds} seconds: the image may be too large for it. Try a smaller size or the device wasm.`
    return { action: 'fail', error: new DeviceError('device-lost-again', message, { seconds }, error) }
  }
}

function afterOutOfMemory(
  error: AquatintError<'out-of-memory' | 'does-not-fit'>,
  { residence, canStream, canShrink, canTile }: Setup,
): Recovery {
  if (residence === 'resident') return { action: 'tighten', residence: 'model' }
  if (residence === 'model' && canStream) return { action: 'tighten', residence: 'block' }
  // A plan that does not fit has no less room for weights to offer.
  if (canShrink && error.code === 'out-of-memory') return { action: 'shrink' }
  if (canTile) return { action: 'tile' }
  const already = residence === 'block' ? 'Blocks are streamed' : 'Components are loaded one at a time'
  const message = `${error.message} ${already} and the VAE is tiled where it can be: try a smaller size, a larger maxMemory or another device.`
  return { action: 'fail', error: new DeviceError(error.code, message, error.details, error) }
}
