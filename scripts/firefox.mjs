/**
 * Firefox for tests on a GPU: where it is, how it is started, and how it is installed when it is missing. It uses the GPU through Vulkan, and
 * lavapipe, a part of Mesa, is a Vulkan device in software. Lavapipe compiles and runs kernels three to five times as fast as Chromium's
 * SwiftShader, and it has `shader-f16`.
 */
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'

/** The first version whose WebGPU runs all tests. */
const leastVersion = 153

const drivers = '/usr/share/vulkan/icd.d'

/** Settings of the profile: WebGPU is on, and Firefox opens no page and no connection by itself. */
const preferences = {
  'dom.webgpu.enabled': true,
  'dom.webgpu.workers.enabled': true,
  'gfx.webgpu.ignore-blocklist': true,
  'browser.aboutwelcome.enabled': false,
  // By default, each window prepares a page for its next tab, which costs seconds of a core.
  'browser.newtab.preload': false,
  'browser.newtabpage.enabled': false,
  'browser.sessionstore.resume_from_crash': false,
  'browser.shell.checkDefaultBrowser': false,
  'browser.startup.page': 0,
  'datareporting.policy.dataSubmissionEnabled': false,
  'dom.max_script_run_time': 0,
  'network.captive-portal-service.enabled': false,
  'network.connectivity-service.enabled': false,
  'services.settings.server': 'data:,#remote-settings-dummy/v1',
  'toolkit.telemetry.enabled': false,
}

/** Path of a Firefox that can run the tests (`FIREFOX_PATH` first), or undefined. Undefined on other systems than Linux. */
export function systemFirefox() {
  if (process.platform !== 'linux' || lavapipe() === undefined) return undefined
  const given = process.env['FIREFOX_PATH']
  const names = given === undefined || given === '' ? ['firefox-esr', 'firefox'] : [given]
  return names.map(which).find((path) => path !== undefined && versionOf(path) >= leastVersion)
}

/** Path of the description of the Vulkan driver, or undefined. */
function lavapipe() {
  const name = existsSync(drivers) ? readdirSync(drivers).find((file) => file.startsWith('lvp_icd')) : undefined
  return name === undefined ? undefined : join(drivers, name)
}

/** @param {string} name */
function which(name) {
  const found = spawnSync('which', [name], { encoding: 'utf8' })
  return found.status === 0 ? realpathSync(found.stdout.trim()) : undefined
}

/**
 * The version of a Firefox, or 0 if it is unknown.
 * @param {string} path
 */
function versionOf(path) {
  const about = join(dirname(path), 'application.ini')
  return existsSync(about) ? Number(/^Version=(\d+)/m.exec(readFileSync(about, 'utf8'))?.[1] ?? 0) : 0
}

/** Installs Debian's Firefox and Mesa if one is missing and apt can install it. Without them the tests run in Chromium. */
export function ensureFirefox() {
  // A Firefox that is too old is not replaced: if apt has no newer one, each run would call apt in vain.
  if (lavapipe() !== undefined && ['firefox-esr', 'firefox'].some((name) => which(name) !== undefined)) return
  if (process.platform === 'linux' && process.getuid?.() === 0 && which('apt-get') !== undefined) {
    console.log('No Firefox with a software GPU found: installing the system packages.')
    spawnSync('apt-get', ['update', '-qq'], { stdio: 'inherit' })
    spawnSync('apt-get', ['install', '-y', '-qq', '--no-install-recommends', 'firefox-esr', 'mesa-vulkan-drivers'], {
      stdio: ['ignore', 'ignore', 'inherit'],
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    })
  }
}

/**
 * Opens a page in a Firefox of its own, without a window and with an empty profile.
 * @param {string} url
 * @returns {Promise<() => Promise<void>>} closes it. Rejects if Firefox ends before it has started.
 */
export async function openFirefox(url) {
  const { close } = await startFirefox({ url })
  return close
}

/**
 * Starts a Firefox without a window. `profile` is the folder of a profile that stays when Firefox ends; without it the profile is empty and
 * temporary. `bidi` is the address for WebDriver BiDi; `close` ends Firefox, and `kill` ends it at once, as a crash does.
 * @param {{ url?: string, profile?: string, preferences?: Readonly<Record<string, string | number | boolean>> }} [options]
 * @returns {Promise<{ bidi: string, close: () => Promise<void>, kill: () => Promise<void> }>} rejects if Firefox ends before it has started
 */
export async function startFirefox({ url = 'about:blank', profile: given, preferences: more = {} } = {}) {
  const path = systemFirefox()
  if (path === undefined) throw new Error(`Firefox ${leastVersion} or Mesa's lavapipe was not found`)
  const profile = given ?? mkdtempSync(join(tmpdir(), 'aquatint-firefox-'))
  const lines = Object.entries({ ...preferences, ...more }).map(
    ([name, value]) => `user_pref(${JSON.stringify(name)}, ${JSON.stringify(value)});\n`,
  )
  writeFileSync(join(profile, 'user.js'), lines.join(''))
  // Firefox's remote agent reports on stderr that Firefox has started, and turns off what disturbs tests.
  const child = spawn(path, ['--headless', '--no-remote', '--remote-debugging-port=0', '--profile', profile, url], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: {
      ...process.env,
      VK_DRIVER_FILES: lavapipe(),
      VK_ICD_FILENAMES: lavapipe(),
      // Lavapipe compiles kernels for vectors of 128 bits in less time than for longer ones, and compiling takes longer than running them.
      LP_NATIVE_VECTOR_WIDTH: '128',
      MOZ_CRASHREPORTER_DISABLE: '1',
    },
  })
  const killNow = () => child.kill('SIGKILL')
  process.once('exit', killNow)
  const ended = new Promise((resolve) => child.once('close', () => resolve(undefined)))
  /** @param {NodeJS.Signals} signal */
  const end = async (signal) => {
    child.kill(signal)
    await ended
    process.off('exit', killNow)
    if (given === undefined) rmSync(profile, { recursive: true, force: true, maxRetries: 5 })
  }
  let output = ''
  /** @type {Promise<string>} */
  const started = new Promise((resolve) =>
    child.stderr.setEncoding('utf8').on('data', (text) => {
      output = (output + text).slice(-2000)
      const address = /WebDriver BiDi listening on (ws:\S+)/.exec(output)?.[1]
      if (address !== undefined) resolve(address)
    }),
  )
  const bidi = await Promise.race([started, ended])
  if (bidi !== undefined) return { bidi, close: () => end('SIGTERM'), kill: () => end('SIGKILL') }
  await end('SIGKILL')
  throw new Error(`Firefox ended before it had started: ${output}`)
}
