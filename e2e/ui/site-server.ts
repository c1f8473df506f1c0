/** A small HTTP server for embedding pages: a fixed set of pages with headers of their own, on an origin that is not the site's. */

import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

/** A page as it is served. */
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

/** Serves `pages` by path. */
export async function startSite(pages: Readonly<Record<string, ServedPage>>): Promise<SiteServer> {
  const server = createServer((request, response) => {
    const page = pages[new URL(request.url ?? '/', 'http://localhost').pathname]
    if (page === undefined) {
      response.writeHead(404).end()
      return
    }
    response.writeHead(200, { 'content-type': 'text/html; charset=utf-8', ...page.headers }).end(page.html)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}`,
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections()
        server.close(() => resolve())
      }),
  }
}
