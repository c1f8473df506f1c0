/** Brings a fresh clone to where commands can run: installs the dependencies of the lock file when they are missing or old. */
import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { createHash } from 'node:crypto'

const stamp = 'node_modules/.aquatint-lock'

/** Installs the locked dependencies unless exactly these are already here. */
export function ensureDependencies() {
  const lock = createHash('sha256').update(readFileSync('package-lock.json')).digest('hex')
  if (readStamp() === lock) return
  console.log('Installing dependencies (npm ci).')
  const npm = process.platform === 'win32' ? 'npm.cmd' : 'npm'
  // onnxruntime-web's dependencies have install scripts that a browser project has no use for.
  execFileSync(npm, ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], {
    stdio: 'inherit',
    shell: process.platform === 'win32',
  })
  writeFileSync(stamp, lock)
}

function readStamp() {
  try {
    return readFileSync(stamp, 'utf8')
  } catch {
    return undefined
  }
}
