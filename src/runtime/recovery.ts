/**
 * Decides what to try after a device failed. A lost device: open it again, unless it was lost twice within two minutes. Out of memory: a
 * tighter offload mode, then fewer weights on the device, then smaller tiles in the autoencoder. Otherwise fail. It only decides: pipelines
 * open devices, plan again and resume.
 */

import { DeviceError, isAquatintError, type AquatintError, type AquatintErrorOf } from '../errors.js'
import type { Residence } from '../memory/plan.js'

/** How a pipeline runs, and what the recovery could still reduce for the network that failed. */
export interface Setup {
  readonly residence: Residence
  /** Whether the device can stream blocks. */
  readonly canStream: boolean
  /** Whether the network can run with fewer of its weights on the device at once. */
  readonly canShrink: boolean
  /** Whether the network can work in smaller tiles. */
  readonly canTile: boolean
}

/** What to do before the next try. */
export type RecoveryStep =
  | { readonly action: 'rebuild' }
  | { readonly action: 'tighten'; readonly residence: Residence }
  | { readonly action: 'shrink' }
  | { readonly action: 'tile' }
  | { readonly action: 'fail'; readonly error: Error }

/** Milliseconds after a loss within which a second loss is final. */
const lossWindowMs = 120_000

/** Chooses the steps of one pipeline. It remembers the last loss: a second loss within {@link lossWindowMs} is final. */
export class RecoveryLadder {
  readonly #now: () => number
  /** The device that was lost last, the time of the report, and the time since the previous loss. */
  #loss: { readonly device: object; readonly at: number; readonly since: number } | undefined

  /** `now`: a monotonic clock in milliseconds. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now
  }

  /** The next step after `error` on `device`. Errors other than a lost device or too little memory lead to `fail`, unchanged. */
  next(error: unknown, setup: Setup, device: object): RecoveryStep {
    if (isAquatintError(error, 'device-lost')) return this.#afterLoss(error, device)
    if (isAquatintError(error, 'out-of-memory', 'does-not-fit')) return afterOutOfMemory(error, setup)
    return { action: 'fail', error: error instanceof Error ? error : new Error(String(error)) }
  }

  #afterLoss(error: AquatintError, device: object): RecoveryStep {
    const now = this.#now()
    const before = this.#loss
    // One loss may be reported several times before the device is replaced: for example, when no other can be opened.
    const loss = before?.device === device ? before : { device, at: now, since: now - (before?.at ?? Number.NEGATIVE_INFINITY) }
    this.#loss = loss
    if (loss.since >= lossWindowMs || now - loss.at >= lossWindowMs) return { action: 'rebuild' }
    const seconds = Math.round(loss.since / 1000)
    const message = `The GPU device was lost twice within ${seconds} seconds: the image may be too large for it. Try a smaller size or the device wasm.`
    return { action: 'fail', error: new DeviceError('device-lost-again', message, { seconds }, error) }
  }
}

function afterOutOfMemory(
  error: AquatintErrorOf<'out-of-memory' | 'does-not-fit'>,
  { residence, canStream, canShrink, canTile }: Setup,
): RecoveryStep {
  if (residence === 'resident') return { action: 'tighten', residence: 'model' }
  if (residence === 'model' && canStream) return { action: 'tighten', residence: 'block' }
  // `does-not-fit` means that no plan fits, so the plan already keeps as few weights as possible on the device at once.
  if (canShrink && error.code === 'out-of-memory') return { action: 'shrink' }
  if (canTile) return { action: 'tile' }
  const already = residence === 'block' ? 'Blocks are streamed' : 'Components are loaded one at a time'
  const message = `${error.message} ${already} and the VAE is tiled where it can be: try a smaller size, a larger maxMemory or another device.`
  const failure =
    error.code === 'does-not-fit'
      ? new DeviceError(error.code, message, error.details, error)
      : new DeviceError(error.code, message, error.details, error)
  return { action: 'fail', error: failure }
}
