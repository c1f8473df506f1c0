/** Brings a fresh clone to where commands can run: installs the dependencies of the lock file when they are missing or old. */
import { execFileSync, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'

const lockFile = 'package-lock.json'
const stamp = 'node_modules/.aquatint-lock'

/** Installs the locked dependencies unless exactly these are already here. */
export function ensureDependencies() {
  const lock = readFileSync(lockFile)
  const digest = createHash('sha256').update(lock).digest('hex')
  if (readStamp() === digest) return
  console.log('Installing dependencies.')
  // Not `npm ci`: it wants every platform's native packages in the lock file, which holds Linux's.
  install([])
  if (spawnSync(process.execPath, ['node_modules/vite/bin/vite.js', '--version']).status !== 0) {
    // npm leaves a platform's native packages out when the lock file has none; without the lock it finds them.
    rmSync('node_modules', { recursive: true, force: true })
    install(['--no-package-lock'])
  }
  // npm adds what it found for this platform; the tracked file stays as it was.
  writeFileSync(lockFile, lock)
  writeFileSync(stamp, digest)
}

/** @param {string[]} more */
function install(more) {
  const npm = process.platform === 'win32' ? 'npm.cmd' : 'npm'
  // The dependencies' install scripts do nothing that a browser project needs.
  execFileSync(npm, ['install', '--ignore-scripts', '--no-audit', '--no-fund', ...more], {
    stdio: 'inherit',
    shell: process.platform === 'win32',
  })
}

function readStamp() {
  try {
    return readFileSync(stamp, 'utf8')
  } catch {
    return undefined
  }
}
