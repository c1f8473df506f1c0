/** The package as npm would publish it. pack.setup.ts, or in `npm test` an earlier check, writes it before the specs that read it. */

import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, rmSync } from 'node:fs'
import { join, resolve } from 'node:path'

const folder = resolve('test-results/package')

/** Path of the tarball. */
export function packedLibrary(): string {
  const [tarball] = readdirSync(folder)
  if (tarball === undefined) throw new Error('The library is not packed')
  return join(folder, tarball)
}

/** Packs the package. Returns the path of the tarball. */
export function packLibrary(): string {
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  // `prepack` builds the library, its types and the command line.
  const windows = process.platform === 'win32'
  const pack = ['pack', '--silent', '--pack-destination', folder]
  execFileSync(windows ? 'npm.cmd' : 'npm', pack, { stdio: 'pipe', shell: windows })
  return packedLibrary()
}
