/**
 * WebKitGTK for specs: the engine of Safari on a machine without a screen. Where it is, how its WebDriver is started, and how it is installed
 * when it is missing. It has no WebGPU.
 */
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { freePort } from './free-port.mjs'

/** Programs that WebKitGTK's specs need: the WebDriver, and a virtual display (Xvfb). */
const programs = ['WebKitWebDriver', 'xvfb-run', 'Xvfb', 'xauth']
const libraries = '/usr/lib'

/** The path of the browser that WebKitWebDriver starts; undefined if the browser, WebKitWebDriver or Xvfb is missing. */
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

/** Installs Debian's WebKitGTK if it is missing and apt can install it. Without it the specs of WebKit are skipped. */
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
 * Starts the browser and its driver. `url` is the driver's address, `end` ends both. The driver could start the browser itself, but it
 * would choose one of the ports that the system also gives to outgoing connections. If such a connection has the port, the browser cannot
 * listen there, and the driver waits for it forever.
 * @param {string} browser its path
 * @param {readonly string[]} options of the browser
 * @returns {Promise<{ url: string, end: () => Promise<void> }>} rejects if one of them ends before the driver answers
 */
export async function startWebKit(browser, options) {
  const [port, inspectorPort] = [await freePort(), await freePort()]
  const inspector = `127.0.0.1:${inspectorPort}`
  // The driver takes the place of the shell, and ends when the browser ends.
  const script = `{ WEBKIT_INSPECTOR_SERVER=${inspector} "$@"; kill $$; } & exec WebKitWebDriver --port=${port} --target=${inspector}`
  const child = spawn('xvfb-run', ['-a', '-s', '-screen 0 1600x1200x24', 'sh', '-c', script, 'sh', browser, ...options], {
    stdio: 'ignore',
    // The driver and the browser are a process group of their own, which `end` ends as a whole.
    detached: true,
    env: {
      ...process.env,
      // WebKit's sandbox needs permissions that containers do not have. The specs open only pages of this machine.
      WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS: '1',
      LIBGL_ALWAYS_SOFTWARE: '1',
      // Without its optimizing WebAssembly compiler, WebKit makes a small picture in half the time: each page compiles the runtime again.
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
      throw new Error('WebKit or its driver ended before the driver had started')
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
