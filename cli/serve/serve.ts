/**
 * `aquatint serve`: serves a folder over HTTP with everything that a page needs: ranges, CORS, ETags and a listing with hashes
 * (`files.json`). Clients can only read, and only the files that the folder lists.
 */

import { createReadStream } from 'node:fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { InputError } from '../../src/errors.js'
import { readArguments } from '../arguments.js'
import { FileHashes } from './file-hashes.js'
import type { CommandIO } from '../output.js'
import { ServedFolder, type ServedFile } from './served-folder.js'
import { formatBytes } from '../../src/util/format-bytes.js'
import type { Command } from '../command.js'

const help = `Usage: aquatint serve <folder> [options]

Serves a repository on your disk over HTTP, so that a page can load it by its URL: with ranges, CORS, and a listing of its
files at /files.json, with which the page verifies what it loads. The server hashes all files once as soon as it starts; a
page that requests the listing earlier waits for it. Ctrl-C stops the server.

  <folder>           a repository in diffusers' layout
  --port <number>    default 8000; 0 takes a free port
  --host <address>   default 127.0.0.1, this machine only; 0.0.0.0 for other machines too
  --origin <origin>  the only origin whose pages may read, such as https://example.org. Default: any
  --follow-links     also serve links to files outside of the folder. Default: only files in the folder, and for a snapshot
                     in the Hub's cache also its blobs
  --json             print one JSON document with the URL when the server is ready

Examples
  aquatint serve sdxl-half
  aquatint serve sdxl-half --port 9000 --origin https://example.org
  In a page: DiffusionPipeline.fromPretrained('http://127.0.0.1:8000/')
`

/** The path at which pages request the listing. A file of this name in the folder is not served, because it may be out of date. */
const listingName = 'files.json'

/** Milliseconds between the line breaks that are sent while a listing waits for hashes. */
const aliveMs = 5000

/** Options of {@link serveFolder}. */
export interface ServeOptions {
  readonly host: string
  readonly port: number
  readonly origin: string
  /** Whether links to files outside of the folder are served. Default false. */
  readonly followLinks?: boolean | undefined
}

/** A running server. */
export interface Serving {
  readonly url: string
  /** The number of files at the start. */
  readonly files: number
  readonly bytes: number
  readonly hasIndex: boolean
  /** Paths that are not served: links to files outside of the folder, and names that no repository can have. */
  readonly refused: readonly string[]
  close(): Promise<void>
}

/** Starts the server. @throws InputError `not-a-folder`, `port-in-use` */
export async function serveFolder(path: string, options: ServeOptions): Promise<Serving> {
  const folder = new ServedFolder(path, options.followLinks ?? false)
  const { served, refused } = await folder.list()
  const ending = new AbortController()
  const hashes = new FileHashes(path, ending.signal)
  const server = createServer((request, response) => {
    answer(request, response, folder, hashes, options.origin).catch((error: unknown) => {
      if (!response.headersSent) response.writeHead(500, { 'content-type': 'text/plain' })
      response.destroy(error instanceof Error ? error : undefined)
    })
  })
  await listen(server, options.host, options.port)
  // Hashing starts now, so that the listing is ready sooner. A promise rejects only if the server is closed first.
  for (const { path } of served) hashes.describe(path).catch(() => {})
  const { port, family, address } = server.address() as AddressInfo
  const host = family === 'IPv6' ? `[${address}]` : address
  return {
    url: `http://${host}:${port}/`,
    files: served.length,
    bytes: served.reduce((sum, file) => sum + file.size, 0),
    hasIndex: served.some((file) => file.path === 'model_index.json'),
    refused,
    close: () =>
      new Promise((resolve) => {
        ending.abort()
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

function listen(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EADDRINUSE') reject(error)
      else
        reject(
          new InputError(
            'port-in-use',
            `Port ${port} of ${host} is in use; choose another one with --port, or 0 for a free one.`,
            { host, port },
            error,
          ),
        )
    })
    server.listen(port, host, resolve)
  })
}

const types: Readonly<Record<string, string>> = {
  json: 'application/json',
  txt: 'text/plain; charset=utf-8',
  md: 'text/markdown; charset=utf-8',
  png: 'image/png',
  jpg: 'image/jpeg',
  jpeg: 'image/jpeg',
  webp: 'image/webp',
}

/** The type comes from the requested name, since the target of a link may have no extension. */
function typeOf(path: string): string {
  return types[/\.(\w+)$/.exec(path)?.[1] ?? ''] ?? 'application/octet-stream'
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  folder: ServedFolder,
  hashes: FileHashes,
  origin: string,
): Promise<void> {
  response.setHeader('access-control-allow-origin', origin)
  if (origin !== '*') response.setHeader('vary', 'origin')
  response.setHeader('access-control-expose-headers', 'accept-ranges, content-length, content-range, etag')
  response.setHeader('cross-origin-resource-policy', 'cross-origin')
  response.setHeader('x-content-type-options', 'nosniff')
  if (request.method === 'OPTIONS') {
    response.setHeader('access-control-allow-methods', 'GET, HEAD')
    response.setHeader('access-control-allow-headers', 'range, if-range, if-none-match, authorization')
    // The draft of Private Network Access requires this header before a public page may send requests into a private network.
    response.setHeader('access-control-allow-private-network', 'true')
    response.writeHead(204).end()
    return
  }
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    response.writeHead(405, { allow: 'GET, HEAD, OPTIONS' }).end()
    return
  }
  const path = pathOf(request.url ?? '/')
  if (path === '' || path === listingName) {
    response.writeHead(200, { 'content-type': 'application/json', 'cache-control': 'no-cache' })
    if (request.method === 'HEAD') {
      response.end()
      return
    }
    const { served } = await folder.list()
    const paths = served.map(({ path }) => path).filter((path) => path !== listingName)
    await sendListing(response, paths, hashes)
    return
  }
  const file = path === null ? undefined : await folder.find(path)
  if (file === undefined) {
    response.writeHead(404, { 'content-type': 'text/plain' }).end('There is no such file.\n')
    return
  }
  sendFile(request, response, typeOf(path ?? ''), file)
}

/** Sends each entry of the listing as soon as its hash is known. */
async function sendListing(response: ServerResponse, paths: readonly string[], hashes: FileHashes): Promise<void> {
  response.write('{"files":[')
  // Clients abort a request if no bytes of the response arrive for long. JSON parsers ignore these line breaks.
  const alive = setInterval(() => response.write('\n'), aliveMs)
  try {
    let separator = ''
    for (const path of paths) {
      const file = await hashes.describe(path)
      if (response.destroyed) return
      if (file === undefined) continue
      response.write(separator + JSON.stringify(file))
      separator = ',\n'
    }
  } finally {
    clearInterval(alive)
  }
  response.end(']}\n')
}

/** The decoded path without the first slash, or null where it cannot be decoded. */
function pathOf(url: string): string | null {
  try {
    return decodeURIComponent(url.replace(/[?#].*$/s, '').replace(/^\//, ''))
  } catch {
    return null
  }
}

function sendFile(request: IncomingMessage, response: ServerResponse, type: string, file: ServedFile): void {
  const { path, size, mtimeMs } = file
  const etag = `"${size.toString(16)}-${Math.floor(mtimeMs * 1000).toString(16)}"`
  response.setHeader('etag', etag)
  response.setHeader('last-modified', new Date(mtimeMs).toUTCString())
  response.setHeader('accept-ranges', 'bytes')
  response.setHeader('cache-control', 'no-cache')
  response.setHeader('content-type', type)
  if (request.headers['if-none-match']?.split(/,\s*/).includes(etag) === true) {
    response.writeHead(304).end()
    return
  }
  const condition = request.headers['if-range']
  const range = condition === undefined || condition === etag ? parseRange(request.headers.range, size) : undefined
  if (range === null) {
    response.writeHead(416, { 'content-range': `bytes */${size}` }).end()
    return
  }
  const { begin, end } = range ?? { begin: 0, end: size }
  response.setHeader('content-length', end - begin)
  if (range !== undefined) response.setHeader('content-range', `bytes ${begin}-${end - 1}/${size}`)
  response.writeHead(range === undefined ? 200 : 206)
  if (request.method === 'HEAD' || begin === end) {
    response.end()
    return
  }
  const stream = createReadStream(path, { start: begin, end: end - 1, highWaterMark: 1 << 20 })
  response.once('close', () => stream.destroy())
  stream.once('error', (error) => response.destroy(error))
  stream.pipe(response)
}

/** The requested range; undefined for no, several or invalid ranges (the whole file is sent then), null for a range outside of the file. */
export function parseRange(
  header: string | undefined,
  size: number,
): { readonly begin: number; readonly end: number } | null | undefined {
  const match = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(header?.trim() ?? '')
  const [, first = '', last = ''] = match ?? []
  if (first === '' && last === '') return undefined
  if (first === '') return Number(last) === 0 || size === 0 ? null : { begin: Math.max(0, size - Number(last)), end: size }
  const [begin, end] = [Number(first), last === '' ? size : Math.min(Number(last) + 1, size)]
  if (last !== '' && Number(last) < begin) return undefined
  return begin >= size ? null : { begin, end }
}

async function run(args: readonly string[], io: CommandIO, json: boolean): Promise<undefined> {
  const given = readArguments(args, 'serve', {
    target: 'folder',
    texts: ['port', 'host', 'origin'],
    flags: ['follow-links'],
  })
  const port = Number(given.text('port') ?? '8000')
  if (!Number.isInteger(port) || port < 0 || port > 65_535)
    throw new InputError('port', `--port is ${JSON.stringify(given.text('port'))}; expected a number from 0 to 65535.`, {
      port: given.text('port') ?? '',
    })
  const origin = given.text('origin') ?? '*'
  if (origin !== '*' && (!URL.canParse(origin) || new URL(origin).origin !== origin))
    throw new InputError('origin', `--origin is ${JSON.stringify(origin)}; expected an origin such as https://example.org.`, {
      origin,
    })
  const host = given.text('host') ?? '127.0.0.1'
  const serving = await serveFolder(given.target, { host, port, origin, followLinks: given.flag('follow-links') })
  const { url, files, bytes, hasIndex, refused } = serving
  if (refused.length > 0)
    io.stderr(
      `Note: these files are not served, because they are links out of the folder (see --follow-links) or have names that no repository can have: ${refused.slice(0, 10).join(', ')}${refused.length > 10 ? ` and ${refused.length - 10} more` : ''}\n`,
    )
  if (json) io.stdout(`${JSON.stringify({ ok: true, url, files, bytes, refused })}\n`)
  else {
    if (!hasIndex) io.stderr(`Note: ${given.target} has no model_index.json, so it is not a whole pipeline.\n`)
    io.stdout(`Serving ${files} files, ${formatBytes(bytes)}, at ${url} (Ctrl-C stops the server)\n`)
  }
  await new Promise<void>((resolve) => {
    if (io.signal.aborted) resolve()
    else io.signal.addEventListener('abort', () => resolve(), { once: true })
  })
  await serving.close()
}

export const serveCommand: Command = { summary: 'Serve a folder over HTTP, so that a page can load it', help, run }
