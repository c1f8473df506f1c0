/** Decides whether a failed request is sent again, and how long to wait before. */

import { isAquatintError } from '../../errors.js'
import { abortError } from '../../util/abort.js'
import type { TransferSettings } from '../settings.js'
import type { Transport } from './transport.js'

/** The longest wait that a server may request, in milliseconds. */
export const longestWait = 300_000

/** Codes of failures after which the same request may succeed. */
const temporary = new Set([
  'network',
  'stalled',
  'short-body',
  'rate-limited',
  'server-error',
  'range-not-honoured',
  'url-expired',
])

/** Reasons of a `network` failure that stay the same for a while: waiting a few seconds does not help. */
const permanentReasons: ReadonlySet<unknown> = new Set(['offline', 'no-such-host', 'certificate', 'range'])
/** The most tries at a host that has never answered. */
const triesAtUnknownHost = 3
/** Codes by which a host says that it is overloaded. */
const overloaded = new Set(['rate-limited', 'server-error'])

/** HTTP statuses that stay the same however often the request is sent. */
const permanentStatus = new Set([400, 405, 406, 414, 431, 451, 501, 505])

/** Whether the same request may succeed later. */
export function isTemporary(error: unknown): boolean {
  if (!isAquatintError(error) || !temporary.has(error.code)) return false
  return !permanentStatus.has(Number(error.details['status'])) && !permanentReasons.has(error.details['reason'])
}

/**
 * For how many milliseconds an overloaded host wants no requests; 0 when it is overloaded but names no time, undefined when the failure
 * says nothing about the host's load.
 */
export function requestedWait(failure: unknown): number | undefined {
  if (!isAquatintError(failure) || !overloaded.has(failure.code)) return undefined
  const wait = failure.details['wait']
  return typeof wait === 'number' ? Math.min(longestWait, wait) : 0
}

/**
 * Milliseconds to wait after `failures` failures in a row. If the server requested a wait, it is that wait, up to {@link longestWait}. Otherwise it is
 * between half and all of base · 2^(failures − 1), at most `retryMaxMs`, so that many clients do not return at the same moment. `random` is in [0, 1).
 */
export function retryDelay(error: unknown, failures: number, settings: TransferSettings, random: number): number {
  const requested = isAquatintError(error) ? error.details['wait'] : undefined
  if (typeof requested === 'number') return Math.min(longestWait, requested)
  const most = Math.min(settings.retryMaxMs, settings.retryBaseMs * 2 ** (failures - 1))
  return most * (0.5 + random / 2)
}

/**
 * Calls `attempt` until it returns a value. If an attempt returns undefined, it made progress, and the next one follows at once. If an
 * attempt fails in a way that is temporary, the next one follows after a wait, or at once after the first `url-expired` or
 * `range-not-honoured`. It gives up after `settings.maxTries` failures in a row without progress, and earlier if the host is unreachable
 * or does not honour ranges.
 * @param madeProgress whether the failed attempt received useful bytes
 * @throws the last failure
 */
export async function retrying<T>(
  { settings, random }: Transport,
  signal: AbortSignal,
  attempt: () => Promise<T | undefined>,
  madeProgress: () => boolean = () => false,
): Promise<T> {
  let expired = 0
  let unranged = 0
  for (let failures = 0; ;) {
    try {
      const value = await attempt()
      if (value !== undefined) return value
      failures = 0
    } catch (error) {
      if (signal.aborted || !isTemporary(error)) throw error
      if (madeProgress()) failures = 0
      const isUnknownHost = isAquatintError(error) && error.details['reason'] === 'unreachable'
      if (++failures >= (isUnknownHost ? Math.min(triesAtUnknownHost, settings.maxTries) : settings.maxTries)) throw error
      // A server that does not honour ranges will not do so later, but one bad answer may be a coincidence.
      const noRanges = isAquatintError(error, 'range-not-honoured')
      if (noRanges && unranged++ > 0) throw error
      const atOnce = noRanges || (isAquatintError(error, 'url-expired') && expired++ === 0)
      if (!atOnce) await delay(retryDelay(error, failures, settings, random()), signal)
    }
  }
}

/** Resolves after the given number of milliseconds. @throws AbortError, or the error that a download was ended with */
function delay(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const leave = () => {
      clearTimeout(timer)
      reject(isAquatintError(signal.reason) ? signal.reason : abortError(signal))
    }
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', leave)
      resolve()
    }, milliseconds)
    if (signal.aborted) leave()
    else signal.addEventListener('abort', leave, { once: true })
  })
}
