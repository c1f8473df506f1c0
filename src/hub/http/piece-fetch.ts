/** Brings one piece of a file into memory: asks, counts, asks again for what is missing, and gives up after so many vain tries. */

import { isAquatintError } from '../../errors.js'
import { abortError } from '../../util/abort.js'
import { fileChanged, urlExpired } from './http-errors.js'
import type { RemoteFile } from '../remote-file.js'
import type { ConnectionSlot, ConnectionPool } from './connections.js'
import { fetchRange, PassOn, shortBody, type Fetch, type RangeAnswer, type Sink } from './range-fetch.js'
import type { TransferSettings } from '../settings.js'
import type { ByteRange } from '../types.js'

/** What the network side of a download needs from its Hub. */
export interface Transport {
  readonly fetch: Fetch
  readonly settings: TransferSettings
  connectionsTo(host: string): ConnectionPool
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
  transport: Transport,
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
  const accept = (answer: RangeAnswer, slot: ConnectionSlot): Sink => {
    checkAnswer(answer, file)
    if (answer.kind === 'whole') {
      if (length < file.size) throw new RangesIgnored()
      restart()
    }
    return (bytes) => {
      target.set(bytes, got)
      got += bytes.length
      slot.count(bytes.length)
      onBytes(bytes.length)
    }
  }
  const progressed = () => got - before >= Math.min(progressBytes, length)
  await retrying(
    transport,
    signal,
    async () => {
      before = got
      const rest = { begin: range.begin + got, end: range.end }
      try {
        await requestFile(transport, file, rest, signal, accept)
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
export async function requestFile(
  transport: Transport,
  file: RemoteFile,
  range: ByteRange | undefined,
  signal: AbortSignal,
  accept: (answer: RangeAnswer, slot: ConnectionSlot) => Sink,
): Promise<void> {
  const target = await file.location.requestTarget(signal)
  let answeredAt: string | undefined
  let slot: ConnectionSlot | undefined
  try {
    const held = await transport.connectionsTo(hostOf(target.url)).acquire(signal)
    slot = held
    await fetchRange({
      fetch: transport.fetch,
      url: target.url,
      headers: target.headers,
      range,
      size: file.size,
      requested: file,
      stallMs: transport.settings.stallMs,
      patienceMs: held.mayQueue ? transport.settings.stallMs * queuePatience : undefined,
      signal,
      onAnswer: (url) => (answeredAt = url),
      accept: (answer) => {
        target.settle(answer.url)
        held.answered()
        return accept(answer, held)
      },
    })
  } catch (error) {
    const wait = requestedWait(error)
    if (wait !== undefined && answeredAt !== undefined) {
      // Where the redirect led to is known, though that host has too much to do.
      if (answeredAt !== target.url) target.settle(answeredAt)
      transport.connectionsTo(hostOf(answeredAt)).backOff(wait)
    }
    if (target.redirected && isAquatintError(error)) {
      const { code, details } = error
      // A refusal without CORS headers looks as if there had been no answer.
      if (details['status'] === 403 || (code === 'network' && answeredAt === undefined)) file.location.expire(target.url)
      if (details['status'] === 403) throw urlExpired(file, error)
    }
    throw error
  } finally {
    slot?.release()
    target.settle()
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
  transport: Transport,
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
      if (++tries >= transport.settings.maxTries) throw error
      const atOnce = isAquatintError(error) && error.code === 'url-expired' && expired++ === 0
      if (!atOnce) await delay(retryDelay(error, tries, transport.settings, transport.random()), signal)
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
export function requestedWait(failure: unknown): number | undefined {
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
  const requested = isAquatintError(error) ? error.details['wait'] : undefined
  if (typeof requested === 'number') return Math.min(longestWait, requested)
  const most = Math.min(settings.retryMaxMs, settings.retryBaseMs * 2 ** (tries - 1))
  return most * (0.5 + random / 2)
}
