/** A small HTTP server for embedding pages: serves a fixed set of pages with given headers, on another origin than the site. */

import { readFile } from 'node:fs/promises'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { extname, join, normalize } from 'node:path'

/** A page, and the headers to serve it with. */
export interface ServedPage {
  readonly html: string
  readonly headers?: Readonly<Record<string, string>>
}

/** A running server. */
export interface SiteServer {
  /** Origin with a port, such as `http://127.0.0.1:40123`. */
  readonly url: string
  close(): Promise<void>
}

/** A server that lists the paths of its requests, in order. */
export interface ListingServer extends SiteServer {
  readonly requests: readonly string[]
}

/** Serves `pages` by path. */
export function startSite(pages: Readonly<Record<string, ServedPage>>): Promise<SiteServer> {
  return listen((request, response) => {
    const page = pages[new URL(request.url ?? '/', 'http://localhost').pathname]
    if (page === undefined) response.writeHead(404).end()
    else response.writeHead(200, { 'content-type': 'text/html; charset=utf-8', ...page.headers }).end(page.html)
  })
}

const types: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.wasm': 'application/wasm',
  '.svg': 'image/svg+xml',
  '.png': 'image/png',
  '.webmanifest': 'application/manifest+json',
  '.json': 'application/json',
}

/** Serves the files of a folder, as a static host does, with `headers`, and `pages` by path. */
export async function startFolder(
  folder: string,
  pages: Readonly<Record<string, ServedPage>> = {},
  headers: Readonly<Record<string, string>> = {},
): Promise<ListingServer> {
  return listen((request, response) => {
    const { pathname } = new URL(request.url ?? '/', 'http://localhost')
    const page = pages[pathname]
    if (page !== undefined) {
      response.writeHead(200, { 'content-type': 'text/html; charset=utf-8', ...page.headers }).end(page.html)
      return
    }
    readFile(join(folder, normalize(pathname === '/' ? '/index.html' : pathname))).then(
      (bytes) =>
        response
          .writeHead(200, {
            'content-type': types[extname(pathname)] ?? 'text/html; charset=utf-8',
            'content-length': bytes.length,
            ...headers,
          })
          .end(bytes),
      () => response.writeHead(404).end(),
    )
  })
}

async function listen(answer: RequestListener): Promise<ListingServer> {
  const requests: string[] = []
  const server = createServer((request, response) => {
    requests.push(new URL(request.url ?? '/', 'http://localhost').pathname)
    answer(request, response)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}`,
    requests,
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections()
        server.close(() => resolve())
      }),
  }
}
