/** Prepares a fresh clone for the commands: installs the dependencies of the lock file when they are missing or old. */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'

const stamp = 'node_modules/.aquatint-lock'

/** Installs the locked dependencies unless exactly these are already installed. */
export function ensureDependencies() {
  const digest = createHash('sha256').update(readFileSync('package-lock.json')).digest('hex')
  if (readStamp() === digest) return
  console.log('Installing dependencies.')
  const npm = process.platform === 'win32' ? 'npm.cmd' : 'npm'
  // The install scripts of the dependencies do nothing that this project needs.
  execFileSync(npm, ['ci', '--ignore-scripts'], { stdio: 'inherit', shell: process.platform === 'win32' })
  writeFileSync(stamp, digest)
}

function readStamp() {
  try {
    return readFileSync(stamp, 'utf8')
  } catch {
    return undefined
  }
}
