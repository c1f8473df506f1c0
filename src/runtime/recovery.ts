/**
 * What to try after a device failed, step by step: a lost device is rebuilt once, out of memory tightens the residence, then tiles the
 * VAE, and what is left is an error. A value that decides; opening devices and going on from the last step is the pipeline's.
 */

import { DeviceError, isAquatintError, type AquatintError } from '../errors.js'
import type { Residence } from './memory-plan.js'

/** How a pipeline runs now. */
export interface Setup {
  readonly residence: Residence
  /** Whether the VAE works tile by tile. */
  readonly tiled: boolean
}

/** What to do before going on. */
export type Recovery =
  | { readonly action: 'rebuild' }
  | { readonly action: 'change'; readonly setup: Setup }
  | { readonly action: 'fail'; readonly error: Error }

/** A second loss within this time is not tried again. */
const lossWindowMs = 120_000

const tighter: Readonly<Partial<Record<Residence, Residence>>> = { resident: 'model', model: 'block' }

export class RecoveryLadder {
  readonly #now: () => number
  #lastLoss: number | undefined

  /** `now` gives milliseconds that only grow. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now
  }

  /** The next step for `error` under `setup`. Errors that are not a device's fail as they are. */
  next(error: unknown, setup: Setup): Recovery {
    if (isAquatintError(error) && error.code === 'device-lost') return this.#afterLoss(error)
    if (isAquatintError(error) && (error.code === 'out-of-memory' || error.code === 'does-not-fit'))
      return afterOutOfMemory(error, setup)
    return { action: 'fail', error: error instanceof Error ? error : new Error(String(error)) }
  }

  #afterLoss(error: AquatintError): Recovery {
    const now = this.#now()
    const since = this.#lastLoss === undefined ? Number.POSITIVE_INFINITY : now - this.#lastLoss
    this.#lastLoss = now
    if (since >= lossWindowMs) return { action: 'rebuild' }
    const seconds = Math.round(since / 1000)
    const message = `The GPU device was lost twice within ${seconds} seconds: the image may be too large for it. Try a smaller size or the device wasm.`
    return { action: 'fail', error: new DeviceError('device-lost-again', message, { seconds }, error) }
  }
}

function afterOutOfMemory(error: AquatintError, setup: Setup): Recovery {
  const residence = tighter[setup.residence]
  if (residence !== undefined) return { action: 'change', setup: { ...setup, residence } }
  if (!setup.tiled) return { action: 'change', setup: { ...setup, tiled: true } }
  const message = `${error.message} Blocks are streamed and the VAE is tiled already: try a smaller size, a larger maxMemory or the device wasm.`
  return { action: 'fail', error: new DeviceError(error.code, message, error.details, error) }
}
