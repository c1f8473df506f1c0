/** Packs the library as npm would publish it and has publint and are-the-types-wrong look at the tarball. */
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const folder = mkdtempSync(join(tmpdir(), 'aquatint-pack-'))
const npm = process.platform === 'win32' ? 'npm.cmd' : 'npm'
try {
  // `prepack` builds the library, its types and the command line.
  execFileSync(npm, ['pack', '--pack-destination', folder], {
    stdio: ['ignore', 'ignore', 'inherit'],
    shell: process.platform === 'win32',
  })
  const [tarball] = readdirSync(folder)
  if (tarball === undefined) throw new Error('npm pack wrote no tarball')
  const path = join(folder, tarball)
  const checks = [
    ['node_modules/publint/src/cli.js', path, '--strict'],
    [
      'node_modules/@arethetypeswrong/cli/dist/index.js',
      path,
      '--profile',
      'esm-only',
      '--exclude-entrypoints',
      './custom-elements.json',
    ],
  ]
  for (const check of checks) {
    const { status } = spawnSync(process.execPath, check, { stdio: 'inherit' })
    if (status !== 0) process.exitCode = 1
  }
} finally {
  rmSync(folder, { recursive: true, force: true })
}
