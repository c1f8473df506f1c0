/** Brings one piece of a file into memory: asks, counts, asks again for what is missing, and gives up after so many vain tries. */

import { isAquatintError } from '../../errors.js'
import { abortError } from '../../util/abort.js'
import { fileChanged, urlExpired } from './http-errors.js'
import type { RemoteFile } from '../remote-file.js'
import type { Lane, Lanes } from './connections.js'
import { fetchRange, PassOn, shortBody, type Fetch, type RangeAnswer, type Sink } from './range-fetch.js'
import type { TransferSettings } from '../settings.js'
import type { ByteRange } from '../types.js'

/** What the network side of a download needs from its Hub. */
export interface Network {
  readonly fetch: Fetch
  readonly settings: TransferSettings
  lanesOf(host: string): Lanes
  random(): number
}

/** The server answers ranges with the whole file, so that it must be read as one stream. */
export class RangesIgnored extends PassOn {}

/** A request that the browser may hold back is given so many times the usual silence. */
const queuePatience = 10

/** An attempt that brings at least this much is progress. Less could go on for ever. */
const progressBytes = 64 << 10

/**
 * Fills `target` with the bytes of `range`. @throws RangesIgnored where the server sends the whole file instead, and the file is larger;
 * HubError, AbortError
 */
export async function fetchPiece(
  network: Network,
  file: RemoteFile,
  range: ByteRange,
  target: Uint8Array,
  signal: AbortSignal,
  onBytes: (count: number) => void,
): Promise<void> {
  const length = range.end - range.begin
  let got = 0
  let before = 0
  const restart = () => {
    onBytes(-got)
    got = 0
  }
  const accept = (answer: RangeAnswer, lane: Lane): Sink => {
    checkAnswer(answer, file)
    if (answer.kind === 'whole') {
      if (length < file.size) throw new RangesIgnored()
      restart()
    }
    return (bytes) => {
      target.set(bytes, got)
      got += bytes.length
      lane.count(bytes.length)
      onBytes(bytes.length)
    }
  }
  const progressed = () => got - before >= Math.min(progressBytes, length)
  await retrying(
    network,
    signal,
    async () => {
      before = got
      const rest = { begin: range.begin + got, end: range.end }
      try {
        await fetchOnLane(network, file, rest, signal, accept)
      } catch (error) {
        // What came may be from anywhere in the file.
        if (isAquatintError(error) && error.code === 'range-not-honoured') restart()
        throw error
      }
      if (got === length) return true
      // A server may send less than it was asked for, but not so little that it never ends.
      if (!progressed()) throw shortBody(file, rest.end - rest.begin, got - before)
      return undefined
    },
    progressed,
  )
}

/** One request for a part of a file (the whole of it where `range` is undefined), at its address of now, in a lane of its host. */
export async function fetchOnLane(
  network: Network,
  file: RemoteFile,
  range: ByteRange | undefined,
  signal: AbortSignal,
  accept: (answer: RangeAnswer, lane: Lane) => Sink,
): Promise<void> {
  const lease = await file.location.lease(signal)
  let answeredAt: string | undefined
  let lane: Lane | undefined
  try {
    const held = await network.lanesOf(hostOf(lease.url)).acquire(signal)
    lane = held
    await fetchRange({
      fetch: network.fetch,
      url: lease.url,
      headers: lease.headers,
      range,
      size: file.size,
      asked: file,
      stallMs: network.settings.stallMs,
      patienceMs: held.mayQueue ? network.settings.stallMs * queuePatience : undefined,
      signal,
      onAnswer: (url) => (answeredAt = url),
      accept: (answer) => {
        lease.settle(answer.url)
        held.answered()
        return accept(answer, held)
      },
    })
  } catch (error) {
    const wait = waitAsked(error)
    if (wait !== undefined && answeredAt !== undefined) {
      // Where the redirect led to is known, though that host has too much to do.
      if (answeredAt !== lease.url) lease.settle(answeredAt)
      network.lanesOf(hostOf(answeredAt)).backOff(wait)
    }
    if (lease.redirected && isAquatintError(error)) {
      const { code, details } = error
      // A refusal without CORS headers looks as if there had been no answer.
      if (details['status'] === 403 || (code === 'network' && answeredAt === undefined)) file.location.expire(lease.url)
      if (details['status'] === 403) throw urlExpired(file, error)
    }
    throw error
  } finally {
    lane?.release()
    lease.settle()
  }
}

function hostOf(url: string): string {
  return new URL(url).host
}

/** @throws HubError `size-mismatch`, `file-changed` */
export function checkAnswer(answer: RangeAnswer, file: RemoteFile): void {
  // A hash tells more than a validator, which servers of one host may even disagree about.
  if (file.hash !== undefined || file.validator === undefined || answer.validator === undefined) return
  if (answer.validator !== file.validator) throw fileChanged(file)
}

/**
 * Runs until it gives a value: at once where it made progress and gave none, and after each failure that may pass, with a wait in between,
 * until so many tries in a row brought nothing. An expired address is no one's fault: the first time, the next try comes at once. @throws what `run` threw last
 */
export async function retrying<T>(
  network: Network,
  signal: AbortSignal,
  run: () => Promise<T | undefined>,
  progressed: () => boolean = () => false,
): Promise<T> {
  let expired = 0
  for (let tries = 0; ;) {
    try {
      const value = await run()
      if (value !== undefined) return value
      tries = 0
    } catch (error) {
      if (signal.aborted || !isPassing(error)) throw error
      if (progressed()) tries = 0
      if (++tries >= network.settings.maxTries) throw error
      const atOnce = isAquatintError(error) && error.code === 'url-expired' && expired++ === 0
      if (!atOnce) await delay(retryDelay(error, tries, network.settings, network.random()), signal)
    }
  }
}

/** Resolves after so many milliseconds. @throws AbortError, or the error that a download was ended with */
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
