/**
 * A plain web server that answers as real ones do: static hosts, single-page applications, proxies that compress, sites that ask for a login.
 * Each mode imitates one such server. This file is not part of the product and imports nothing of it.
 */

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { gzipSync } from 'node:zlib'
import { parseRange } from './send-file.js'

/** A request for a file that exists, and the answer to be written. */
export interface Exchange {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly path: string
  readonly bytes: Buffer
  /** How many requests each signed address of this server has received. */
  readonly signed: Map<string, number>
  /** The requested range; undefined if the request has none, null if the file has no such bytes. */
  readonly range: { readonly begin: number; readonly end: number } | undefined | null
  /** How many requests for files the server received before this one. */
  readonly count: number
}

/**
 * Sends the requested range, or the whole file if there is none, with the headers that a well-behaved server sends. `extra` replaces some
 * of them.
 */
export function sendPlain({ request, response, bytes, range }: Exchange, extra: Readonly<Record<string, string>> = {}): void {
  if (range === null) return void response.writeHead(416, { 'content-range': `bytes */${bytes.length}`, ...extra }).end()
  const part = range === undefined ? bytes : bytes.subarray(range.begin, range.end)
  response.writeHead(range === undefined ? 200 : 206, {
    'content-type': 'application/octet-stream',
    'content-length': part.length,
    ...(range === undefined ? {} : { 'content-range': `bytes ${range.begin}-${range.end - 1}/${bytes.length}` }),
    ...extra,
  })
  response.end(request.method === 'HEAD' ? undefined : part)
  return undefined
}

/** Sends a page, as for a login or for a path that a single-page application does not know. */
export function sendPage(response: ServerResponse, type = 'text/html; charset=utf-8'): void {
  response.writeHead(200, { 'content-type': type }).end('<!doctype html><title>Log in</title>')
}

/** Answers with a range that the server chooses instead of the requested one. */
function sendOther(
  exchange: Exchange,
  choose: (range: { begin: number; end: number }, size: number) => { begin: number; end: number },
) {
  const { range, bytes } = exchange
  sendPlain(range === undefined || range === null ? exchange : { ...exchange, range: choose(range, bytes.length) })
}

/** The modes of the server, by name. Each is a function that answers a request for a file that exists. */
export const habits = {
  /** sirv takes `bytes=0-0` for a range without an end. */
  'sirv, which sends everything for bytes=0-0': (exchange: Exchange) =>
    sendOther(exchange, (range, size) => (range.end === 1 ? { begin: range.begin, end: size } : range)),
  'ranges widened to blocks of 64 KiB': (exchange: Exchange) =>
    sendOther(exchange, ({ begin, end }, size) => ({
      begin: begin - (begin % 65_536),
      end: Math.min(size, Math.ceil(end / 65_536) * 65_536),
    })),
  'every range answered by the whole file as 206': (exchange: Exchange) =>
    sendOther(exchange, (_, size) => ({ begin: 0, end: size })),
  'ranges cut to 100 kB': (exchange: Exchange) =>
    sendOther(exchange, ({ begin, end }) => ({ begin, end: Math.min(end, begin + 100_000) })),
  'no ranges': (exchange: Exchange) => sendPlain({ ...exchange, range: undefined }),
  'no ranges, chunked without a length': ({ request, response, bytes }: Exchange) => {
    response.writeHead(200, { 'content-type': 'application/octet-stream' })
    response.write(request.method === 'HEAD' ? '' : bytes.subarray(0, 10))
    response.end(request.method === 'HEAD' ? undefined : bytes.subarray(10))
  },
  'no ranges, no length, and no HEAD': (exchange: Exchange) => {
    const { request, response, bytes } = exchange
    if (request.method === 'HEAD') return void response.writeHead(405).end()
    response.writeHead(200)
    response.write(bytes.subarray(0, 1))
    response.end(bytes.subarray(1))
    return undefined
  },
  'gzip on everything': ({ request, response, bytes, range }: Exchange) => {
    const part = range === undefined || range === null ? bytes : bytes.subarray(range.begin, range.end)
    const headers = range ? { 'content-range': `bytes ${range.begin}-${range.end - 1}/${bytes.length}` } : {}
    response.writeHead(range ? 206 : 200, { 'content-encoding': 'gzip', ...headers })
    response.end(request.method === 'HEAD' ? undefined : gzipSync(part))
  },
  'multipart/byteranges': (exchange: Exchange) => {
    const { response, bytes, range } = exchange
    if (range === undefined || range === null) return sendPlain(exchange)
    const head = `--x\r\nContent-Range: bytes ${range.begin}-${range.end - 1}/${bytes.length}\r\n\r\n`
    response.writeHead(206, { 'content-type': 'multipart/byteranges; boundary=x' })
    response.end(Buffer.concat([Buffer.from(head), bytes.subarray(range.begin, range.end), Buffer.from('\r\n--x--\r\n')]))
    return undefined
  },
  '416 to every range': (exchange: Exchange) =>
    exchange.range === undefined ? sendPlain(exchange) : sendPlain({ ...exchange, range: null }),
  'a Content-Range without a unit in lower case': (exchange: Exchange) => {
    const { bytes, range } = exchange
    sendPlain(exchange, range ? { 'content-range': `Bytes=${range.begin} - ${range.end - 1} / ${bytes.length}` } : {})
  },
  'a Content-Range without the total': (exchange: Exchange) => {
    const { range } = exchange
    sendPlain(exchange, range ? { 'content-range': `bytes ${range.begin}-${range.end - 1}/*` } : {})
  },
  'weak ETags, now and then, and those of compressed copies': (exchange: Exchange) =>
    sendPlain(exchange, { etag: ['"abc"', 'W/"abc"', '"abc-gzip"', 'W/"abc;br"'][exchange.count % 4] ?? '' }),
  'HTML as the type of every file': (exchange: Exchange) => sendPlain(exchange, { 'content-type': 'text/html' }),
  'status 203': (exchange: Exchange) => {
    const { response, bytes } = exchange
    response.writeHead(203, { 'content-length': bytes.length }).end(exchange.request.method === 'HEAD' ? undefined : bytes)
  },
  'status 405 to every range, and 0 as the length of HEAD': (exchange: Exchange) => {
    const { request, response, bytes, range } = exchange
    if (range !== undefined) return void response.writeHead(405).end()
    if (request.method === 'HEAD') return void response.writeHead(200, { 'content-length': 0 }).end()
    response.writeHead(200)
    response.write(bytes.subarray(0, 1))
    response.end(bytes.subarray(1))
    return undefined
  },
  'status 200 for a part, and 204 for an empty file': (exchange: Exchange) => {
    const { response, bytes, range } = exchange
    if (bytes.length === 0) return void response.writeHead(204).end()
    if (range === undefined || range === null) return sendPlain(exchange)
    const part = bytes.subarray(range.begin, range.end)
    response.writeHead(200, { 'content-range': `bytes ${range.begin}-${range.end - 1}/${bytes.length}` }).end(part)
    return undefined
  },
  'no HEAD': (exchange: Exchange) => {
    if (exchange.request.method === 'HEAD') exchange.response.writeHead(403).end()
    else sendPlain(exchange)
  },
  'another ETag with every answer': (exchange: Exchange) => sendPlain(exchange, { etag: `"${exchange.count}"` }),
  'another Last-Modified with every answer': (exchange: Exchange) =>
    sendPlain(exchange, { 'last-modified': new Date(exchange.count * 1000).toUTCString() }),
  'ETags of two machines, in no order': (exchange: Exchange) =>
    sendPlain(exchange, { etag: [0, 0, 1, 0, 1, 1][exchange.count % 6] === 0 ? '"a"' : '"b"' }),
  'status 403 to every range': (exchange: Exchange) => {
    if (exchange.range === undefined) sendPlain(exchange)
    else exchange.response.writeHead(403).end()
  },
  'status 226': (exchange: Exchange) => {
    const { response, bytes } = exchange
    response.writeHead(226, { 'content-length': bytes.length }).end(exchange.request.method === 'HEAD' ? undefined : bytes)
  },
  'status 226 for a part': (exchange: Exchange) => {
    const { response, bytes, range } = exchange
    if (range === undefined || range === null) return sendPlain(exchange)
    response.writeHead(226, { 'content-range': `bytes ${range.begin}-${range.end - 1}/${bytes.length}` })
    response.end(bytes.subarray(range.begin, range.end))
    return undefined
  },
  'a length of 0 in every Content-Range': (exchange: Exchange) => {
    const { response, bytes, range } = exchange
    if (range === undefined || range === null) return sendPlain(exchange)
    response.writeHead(206, { 'content-range': `bytes ${range.begin}-${Math.max(range.end - 1, 0)}/0` })
    response.end(bytes.subarray(range.begin, range.end))
    return undefined
  },
  'status 206 without a Content-Range': ({ request, response, bytes, range }: Exchange) => {
    const part = range === undefined || range === null ? bytes : bytes.subarray(range.begin, range.end)
    response.writeHead(range === undefined ? 200 : 206, {
      'content-length': request.method === 'HEAD' ? bytes.length : part.length,
    })
    response.end(request.method === 'HEAD' ? undefined : part)
  },
  'status 206 without a Content-Range, for the whole file': ({ request, response, bytes }: Exchange) => {
    response.writeHead(206, { 'content-length': bytes.length }).end(request.method === 'HEAD' ? undefined : bytes)
  },
  'gzip on the whole file, in answer to a range': ({ request, response, bytes }: Exchange) => {
    const zipped = gzipSync(bytes)
    response.writeHead(200, { 'content-encoding': 'gzip', 'content-length': zipped.length, etag: 'W/"x"' })
    response.end(request.method === 'HEAD' ? undefined : zipped)
  },
  'a redirect that leads to the whole file': (exchange: Exchange) => {
    if (isSigned(exchange)) sendPlain({ ...exchange, range: undefined })
    else redirect(exchange, 'signed')
  },
  'signed addresses that answer two requests each, then 403': (exchange: Exchange) => sendSigned(exchange, 403),
  'signed addresses that answer two requests each, then 400': (exchange: Exchange) => sendSigned(exchange, 400),
  'signed addresses that answer two requests each, then 404': (exchange: Exchange) => sendSigned(exchange, 404),
  'signed addresses that answer two requests each, then 410': (exchange: Exchange) => sendSigned(exchange, 410),
  'status 429 with Retry-After to every second request': (exchange: Exchange) => {
    if (exchange.count % 2 === 0) sendPlain(exchange)
    else exchange.response.writeHead(429, { 'retry-after': '0' }).end()
  },
  'status 503 to every third request': (exchange: Exchange) => {
    if (exchange.count % 3 === 0) exchange.response.writeHead(503).end('busy')
    else sendPlain(exchange)
  },
  'status 202 to every third request': (exchange: Exchange) => {
    if (exchange.count % 3 === 0) exchange.response.writeHead(202).end()
    else sendPlain(exchange)
  },
  'connections that end in the middle of every second long answer': (exchange: Exchange) => {
    const { response, bytes, range, count } = exchange
    if (range === undefined || range === null || range.end - range.begin < 1000 || count % 2 === 0) return sendPlain(exchange)
    const length = range.end - range.begin
    response.writeHead(206, {
      'content-length': length,
      'content-range': `bytes ${range.begin}-${range.end - 1}/${bytes.length}`,
    })
    response.write(bytes.subarray(range.begin, range.begin + (length >> 1)), () => response.socket?.end())
    return undefined
  },
  'a Content-Encoding that no browser knows, and two Content-Ranges in one': (exchange: Exchange) => {
    const { bytes, range } = exchange
    const contentRange = range ? `bytes ${range.begin}-${range.end - 1}/${bytes.length}` : ''
    sendPlain(exchange, {
      'content-encoding': 'aws-chunked',
      ...(range ? { 'content-range': `${contentRange}, ${contentRange}` } : {}),
    })
  },
  'a Content-Range whose end is one too far': (exchange: Exchange) => {
    const { bytes, range } = exchange
    sendPlain(exchange, range ? { 'content-range': `bytes ${range.begin}-${range.end}/${bytes.length}` } : {})
  },
  'the whole file as the content of a range': (exchange: Exchange) => {
    const { response, bytes, range } = exchange
    if (range === undefined || range === null) return sendPlain(exchange)
    response.writeHead(206, { 'content-range': `bytes ${range.begin}-${range.end - 1}/${bytes.length}` }).end(bytes)
    return undefined
  },
  'nothing as the content of every range': (exchange: Exchange) => {
    const { response, bytes, range } = exchange
    if (range === undefined || range === null) return sendPlain(exchange)
    response.writeHead(206, { 'content-range': `bytes ${range.begin}-${range.end - 1}/${bytes.length}` }).end()
    return undefined
  },
  'the whole file for every second range, as caches do': (exchange: Exchange) =>
    sendPlain(exchange.count % 2 === 1 && exchange.range !== null ? { ...exchange, range: undefined } : exchange),
  'a page with status 416 for every range': (exchange: Exchange) => {
    if (exchange.range === undefined) sendPlain(exchange)
    else exchange.response.writeHead(416, { 'content-type': 'text/html' }).end('<!doctype html>')
  },
  'status 406 to every range': (exchange: Exchange) => {
    if (exchange.range === undefined) sendPlain(exchange)
    else exchange.response.writeHead(406).end()
  },
  'status 500 to every range': (exchange: Exchange) => {
    if (exchange.range === undefined) sendPlain(exchange)
    else exchange.response.writeHead(500).end()
  },
  'signed addresses that answer one request each': (exchange: Exchange) => sendSigned(exchange, 403, 1),
} as const satisfies Readonly<Record<string, (exchange: Exchange) => void>>

/** Whether a request is for an address to which {@link redirect} redirected. */
function isSigned({ request }: Exchange): boolean {
  return request.url?.includes('?') === true
}

function redirect({ response, path }: Exchange, signature: string): void {
  response.writeHead(302, { location: `/${path}?${signature}` }).end()
}

/** Redirects to a new signed address. A signed address answers `most` requests, and later ones with the status `expired`. */
function sendSigned(exchange: Exchange, expired: number, most = 2): void {
  if (!isSigned(exchange)) return redirect(exchange, `signed=${exchange.count}`)
  const { request, response, signed } = exchange
  const url = request.url ?? ''
  const requests = (signed.get(url) ?? 0) + 1
  signed.set(url, requests)
  if (requests <= most) sendPlain(exchange)
  else response.writeHead(expired).end()
  return undefined
}

/** A running server. */
export interface OddServer {
  /** Base URL with a slash at its end. */
  readonly url: string
  /** Method, path and range of each request. */
  readonly log: string[]
  close(): Promise<void>
}

/** How the server answers. */
export interface OddServerOptions {
  readonly files: ReadonlyMap<string, Buffer>
  readonly answer: (exchange: Exchange) => void
  /** Answers requests for files that do not exist. Default: 404. */
  readonly missing?: ((response: ServerResponse, request: IncomingMessage) => void) | undefined
  /** Headers of every answer. Default: any origin may read it. */
  readonly headers?: Readonly<Record<string, string>>
}

const open = { 'access-control-allow-origin': '*', 'access-control-expose-headers': 'Content-Range, ETag' }

/** Starts the server on a free port of 127.0.0.1. */
export async function startOddServer({ files, answer, missing, headers = open }: OddServerOptions): Promise<OddServer> {
  const log: string[] = []
  const signed = new Map<string, number>()
  let count = 0
  const server = createServer((request, response) => {
    const path = decodeURIComponent(new URL(request.url ?? '/', 'http://x').pathname).slice(1)
    log.push(`${request.method} ${path} ${request.headers.range ?? ''}`.trim())
    for (const [name, value] of Object.entries(headers)) response.setHeader(name, value)
    const bytes = files.get(path)
    if (bytes !== undefined)
      answer({ request, response, path, bytes, signed, range: parseRange(request.headers.range, bytes.length), count: count++ })
    else if (missing !== undefined) missing(response, request)
    else response.writeHead(404).end()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    log,
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections()
        server.close(() => resolve())
      }),
  }
}
