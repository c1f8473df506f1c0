/** Sends the bytes of one file in one response, whole or by range, with the faults that the test has set. */

import type { IncomingMessage, ServerResponse } from 'node:http'
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import type { ServedFile } from './repositories.js'
import type { Fault, Faults, LogEntry } from './types.js'

const piece = 256 << 10

/** The time at which the simulated line will have sent everything handed to it so far. */
const lineFree = new WeakMap<Faults, number>()

/** Half-open range from a `Range` header; undefined without one, null when it cannot be satisfied. */
export function parseRange(header: string | undefined, size: number): { begin: number; end: number } | undefined | null {
  const match = /^bytes=(\d*)-(\d*)$/.exec(header ?? '')
  if (match === null || (match[1] === '' && match[2] === '')) return undefined
  if (match[1] === '') return size === 0 ? null : { begin: Math.max(0, size - Number(match[2])), end: size }
  const begin = Number(match[1])
  const end = match[2] === '' ? size : Math.min(size, Number(match[2]) + 1)
  return begin >= size || end <= begin ? null : { begin, end }
}

/** Answers a request for `file`. Resolves when the response has ended or its connection is closed. */
export async function sendFile(
  request: IncomingMessage,
  response: ServerResponse,
  file: ServedFile,
  entry: LogEntry,
  faults: Faults,
  fault: Fault | undefined,
): Promise<void> {
  const range = fault?.ignoreRange === true ? undefined : parseRange(request.headers.range, file.size)
  response.setHeader('accept-ranges', 'bytes')
  response.setHeader('etag', `"${file.lfs ? file.sha256 : file.oid}"`)
  response.setHeader('content-type', file.path.endsWith('.json') ? 'application/json' : 'application/octet-stream')
  if (range === null) {
    entry.status = 416
    response.writeHead(416, { 'content-range': `bytes */${file.size}` }).end()
    return
  }
  const { begin, end } = range ?? { begin: 0, end: file.size }
  entry.status = range === undefined ? 200 : 206
  if (range !== undefined) {
    const stated = fault?.contentRange ?? `bytes ${begin}-${end - 1}/${file.size}`
    if (stated !== 'missing') response.setHeader('content-range', stated)
  }
  for (const [name, value] of Object.entries(fault?.headers ?? {})) response.setHeader(name, value)
  if (fault?.gzip === true) {
    const body = await promisify(gzip)(await file.read(begin, end), { level: 1 })
    response.writeHead(entry.status, { 'content-encoding': 'gzip', 'content-length': body.length })
    entry.bytes = body.length
    response.end(request.method === 'HEAD' ? undefined : body)
    return
  }
  if (fault?.endAfter !== undefined) {
    // Without a length and without chunked encoding, the end of the connection is the end of the body.
    response.useChunkedEncodingByDefault = false
    response.removeHeader('transfer-encoding')
    response.setHeader('connection', 'close')
  } else {
    response.setHeader('content-length', end - begin)
  }
  response.writeHead(entry.status)
  if (request.method === 'HEAD') {
    response.end()
    return
  }
  response.flushHeaders()
  await sendBody(response, file, begin, end, entry, faults, fault)
}

async function sendBody(
  response: ServerResponse,
  file: ServedFile,
  begin: number,
  end: number,
  entry: LogEntry,
  faults: Faults,
  fault: Fault | undefined,
): Promise<void> {
  const limit = Math.min(end - begin, fault?.cutAfter ?? Infinity, fault?.endAfter ?? Infinity, fault?.stallAfter ?? Infinity)
  const started = performance.now()
  const rate = Math.min(faults.bytesPerSecond ?? Infinity, faults.lineBytesPerSecond ?? Infinity)
  const size = rate === Infinity ? 4 * piece : Math.max(1024, Math.min(piece, Math.ceil(rate / 20)))
  for (let sent = 0; sent < limit && !response.destroyed;) {
    const count = Math.min(size, limit - sent)
    const bytes = await readWithFaults(file, begin + sent, begin + sent + count, fault)
    const flushed = response.write(bytes)
    sent += count
    entry.bytes = sent
    if (!flushed) await drained(response)
    const now = performance.now()
    const due = faults.bytesPerSecond === undefined ? now : started + (sent / faults.bytesPerSecond) * 1000
    let free = now
    if (faults.lineBytesPerSecond !== undefined) {
      free = Math.max(now, lineFree.get(faults) ?? 0) + (count / faults.lineBytesPerSecond) * 1000
      lineFree.set(faults, free)
    }
    // End the response together with the last bytes, so that the client never has all bytes of an unfinished response.
    if (sent < end - begin) await wait(Math.max(due, free) - now, response)
  }
  if (fault?.stallAfter !== undefined && limit < end - begin) return closed(response)
  if (fault?.cutAfter !== undefined && limit < end - begin) response.socket?.destroySoon()
  else response.end()
}

async function readWithFaults(file: ServedFile, begin: number, end: number, fault: Fault | undefined): Promise<Uint8Array> {
  const shift = fault?.shiftBytes ?? 0
  if (shift > 0) {
    const from = Math.max(0, begin - shift)
    const bytes = new Uint8Array(end - begin)
    bytes.set(await file.read(from, end - shift), begin - shift < 0 ? shift - begin : 0)
    return bytes
  }
  const flip = fault?.flipByteAt
  const bytes = await file.read(begin, end)
  if (flip === undefined || flip < begin || flip >= end) return bytes
  const copy = Uint8Array.from(bytes)
  copy[flip - begin] = ~(copy[flip - begin] ?? 0) & 255
  return copy
}

/** Resolves when the response accepts more bytes, or its connection is closed. */
function drained(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    if (response.destroyed || response.closed) return resolve()
    const done = () => {
      response.off('drain', done)
      response.off('close', done)
      resolve()
    }
    response.on('drain', done)
    response.on('close', done)
  })
}

function closed(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    if (response.destroyed || response.closed) resolve()
    else response.once('close', () => resolve())
  })
}

/** Waits for some milliseconds, or until the connection is closed. */
export function wait(milliseconds: number, response: ServerResponse): Promise<void> {
  if (milliseconds <= 0) return Promise.resolve()
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer)
      response.off('close', done)
      resolve()
    }
    const timer = setTimeout(done, milliseconds)
    response.on('close', done)
  })
}
