/**
 * WebKitGTK for specs: the engine of Safari on a machine without a screen. Where it is, how its WebDriver is started, and how it is installed
 * when it is missing. It has no WebGPU.
 */
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'

/** Programs that it needs: the driver, and a screen in memory. */
const programs = ['WebKitWebDriver', 'xvfb-run', 'Xvfb', 'xauth']
const libraries = '/usr/lib'

/** Path of the browser that WebKit's driver starts, or undefined if it, its driver or the screen in memory is missing. */
export function systemWebKit() {
  if (process.platform !== 'linux' || !programs.every(onPath) || !existsSync(libraries)) return undefined
  for (const folder of readdirSync(libraries, { withFileTypes: true })) {
    if (!folder.isDirectory()) continue
    const path = join(libraries, folder.name, 'webkit2gtk-4.1', 'MiniBrowser')
    if (existsSync(path)) return path
  }
  return undefined
}

/** @param {string} name */
function onPath(name) {
  return (process.env['PATH'] ?? '').split(':').some((folder) => existsSync(join(folder, name)))
}

/** Installs Debian's WebKitGTK where it is missing and apt can. Without it the specs of WebKit are skipped. */
export function ensureWebKit() {
  if (systemWebKit() !== undefined) return
  if (process.platform !== 'linux' || process.getuid?.() !== 0 || !onPath('apt-get')) return
  console.log('No WebKitGTK found: installing the system packages.')
  spawnSync('apt-get', ['update', '-qq'], { stdio: 'inherit' })
  spawnSync('apt-get', ['install', '-y', '-qq', '--no-install-recommends', 'webkit2gtk-driver', 'xvfb', 'xauth'], {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
  })
}

/**
 * Starts the driver on a free port. `url` is its address, `end` ends it and every browser that it has started.
 * @returns {Promise<{ url: string, end: () => Promise<void> }>} rejects if the driver ends before it answers
 */
export async function startWebKitDriver() {
  const port = await freePort()
  const child = spawn('xvfb-run', ['-a', '-s', '-screen 0 1600x1200x24', 'WebKitWebDriver', `--port=${port}`], {
    stdio: 'ignore',
    // The driver and its browsers are a process group of their own, which `end` ends as a whole.
    detached: true,
    env: {
      ...process.env,
      // WebKit's sandbox needs rights that containers do not have. The specs open only pages of this machine.
      WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS: '1',
      LIBGL_ALWAYS_SOFTWARE: '1',
      // Without its optimizing compiler WebKit makes a small picture in half the time, because each page compiles the runtime again.
      JSC_useOMGJIT: '0',
    },
  })
  const ended = new Promise((resolve) => child.once('close', () => resolve('ended')))
  /** @param {NodeJS.Signals} signal */
  const signal = (signal) => {
    if (child.pid !== undefined && child.exitCode === null && child.signalCode === null) process.kill(-child.pid, signal)
  }
  const kill = () => signal('SIGKILL')
  process.once('exit', kill)
  const url = `http://127.0.0.1:${port}`
  while (!(await answers(url))) {
    if ((await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, 50))])) === 'ended')
      throw new Error('The driver of WebKit ended before it had started')
  }
  return {
    url,
    end: async () => {
      // After SIGTERM, Xvfb deletes its lock file.
      signal('SIGTERM')
      await ended
      process.off('exit', kill)
    },
  }
}

/** @param {string} url */
function answers(url) {
  return fetch(`${url}/status`).then(
    ({ ok }) => ok,
    () => false,
  )
}

/** A port of this machine that nothing listens on. @returns {Promise<number>} */
function freePort() {
  const server = createServer()
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0))
    })
  })
}
