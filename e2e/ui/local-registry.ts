/**
 * An npm registry on this machine that serves the packages of this repository's node_modules, so that a test can run `npm install` as a
 * user does: with the versions of the lock file, and without a network.
 */

import { execFile } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { basename, dirname, join, resolve } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)
const modules = resolve('node_modules')

/** A running registry. */
export interface LocalRegistry {
  readonly url: string
  close(): Promise<void>
}

/** Starts the registry. A package that is not installed here is answered with 404. */
export async function startLocalRegistry(): Promise<LocalRegistry> {
  const server = createServer((request, response) => {
    const { pathname, host } = new URL(request.url ?? '/', `http://${request.headers.host ?? ''}`)
    answer(decodeURIComponent(pathname), host).then(
      (body) => (body === undefined ? response.writeHead(404).end('{}') : response.writeHead(200).end(body)),
      (error: unknown) => response.writeHead(500).end(String(error)),
    )
  })
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening))
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}/`,
    close: async () => {
      server.closeAllConnections()
      await new Promise((closed) => server.close(closed))
    },
  }
}

/** The answer to a request of npm: the versions of a package, or the archive of the only version. */
async function answer(path: string, host: string): Promise<string | Buffer | undefined> {
  const [, name = '', archive] = /^\/((?:@[^/]+\/)?[^/@]+)(\/archive\.tgz)?$/.exec(path) ?? []
  const manifest = join(modules, name, 'package.json')
  if (name === '' || name.includes('..') || !existsSync(manifest)) return undefined
  if (archive !== undefined) {
    const folder = join(modules, name)
    // npm drops the first folder of each path in an archive, whatever its name.
    const tar = ['-cf', '-', '-C', dirname(folder), '--exclude', `${basename(folder)}/node_modules`, basename(folder)]
    const { stdout } = await run('tar', tar, { encoding: 'buffer', maxBuffer: 2 ** 30 })
    return stdout
  }
  const described = JSON.parse(readFileSync(manifest, 'utf8')) as { readonly version: string }
  const dist = { tarball: `http://${host}/${name}/archive.tgz` }
  const versions = { [described.version]: { ...described, dist } }
  return JSON.stringify({ name, 'dist-tags': { latest: described.version }, versions })
}
