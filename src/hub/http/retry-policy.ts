/** Which failures are worth another try, and how long to wait before it. Pure. */

import { isAquatintError } from '../../errors.js'
import type { TransferSettings } from '../settings.js'

const passing = new Set(['network', 'stalled', 'short-body', 'rate-limited', 'server-error', 'range-not-honoured', 'url-expired'])
const busy = new Set(['rate-limited', 'server-error'])
const permanentStatus = new Set([400, 405, 406, 414, 431, 451, 501, 505])

/** Whether the same request may succeed later. */
export function isPassing(error: unknown): boolean {
  return isAquatintError(error) && passing.has(error.code) && !permanentStatus.has(Number(error.details['status']))
}

/**
 * Milliseconds that a host which has too much to do wants to be left alone: 0 where it does not tell, undefined where the failure (or
 * the success) has nothing to do with that.
 */
export function waitAsked(failure: unknown): number | undefined {
  if (!isAquatintError(failure) || !busy.has(failure.code)) return undefined
  const wait = failure.details['wait']
  return typeof wait === 'number' ? Math.min(longestWait, wait) : 0
}

/** Longest wait that a server may ask for, in milliseconds. */
export const longestWait = 300_000

/**
 * Milliseconds before try number `tries + 1`. A wait that the server asked for is kept; without one it is between half and all of
 * base · 2^(tries − 1), so that many clients do not come back at once. `random` is in [0, 1).
 */
export function retryDelay(error: unknown, tries: number, settings: TransferSettings, random: number): number {
  const asked = isAquatintError(error) ? error.details['wait'] : undefined
  if (typeof asked === 'number') return Math.min(longestWait, asked)
  const most = Math.min(settings.retryMaxMs, settings.retryBaseMs * 2 ** (tries - 1))
  return most * (0.5 + random / 2)
}
