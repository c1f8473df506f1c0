/** Chromium for tests: where it is, how it is started, and how it is installed when it is missing. */
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'

/** With these features, Chromium opens a page for a popup of its address bar in each window, which takes half a second of a core. */
const windowPages =
  'WebUIOmniboxPopup,WebUIOmniboxAimPopup,WebUIOmniboxFullPopup,PreloadTopChromeWebUI,PreloadTopChromeWebUILessNavigations'

/** Flags for headless Chromium with a software WebGPU adapter and no traffic of its own. */
export const chromiumFlags = [
  '--no-sandbox',
  '--enable-unsafe-webgpu',
  '--use-webgpu-adapter=swiftshader',
  '--enable-features=Vulkan',
  '--use-vulkan=swiftshader',
  '--ignore-gpu-blocklist',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  `--disable-features=${windowPages}`,
]

const systemNames = ['chromium', 'chromium-browser', 'google-chrome-stable', 'google-chrome']
const systemPaths = [
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
  '/Applications/Chromium.app/Contents/MacOS/Chromium',
  `${process.env['PROGRAMFILES'] ?? 'C:\\Program Files'}\\Google\\Chrome\\Application\\chrome.exe`,
]

/** Path of the system's Chromium or Chrome (`CHROMIUM_PATH` first), or undefined. */
export function systemChromium() {
  const given = process.env['CHROMIUM_PATH']
  if (given !== undefined && given !== '') return given
  for (const name of systemNames) {
    const found = spawnSync(process.platform === 'win32' ? 'where' : 'which', [name], { encoding: 'utf8' })
    if (found.status === 0) return found.stdout.trim().split('\n')[0]
  }
  return systemPaths.find((path) => existsSync(path))
}

/** Playwright launch options: the system's browser when there is one, else the one Playwright downloaded. */
export function chromiumLaunchOptions() {
  const executablePath = systemChromium()
  return { args: chromiumFlags, ...(executablePath === undefined ? {} : { executablePath }) }
}

/** Installs a Chromium when none is there: Debian's package if apt can install it, else Playwright's own download. */
export function ensureChromium() {
  if (systemChromium() !== undefined) return
  if (process.platform === 'linux' && process.getuid?.() === 0 && spawnSync('which', ['apt-get']).status === 0) {
    console.log('No Chromium found: installing the system package.')
    spawnSync('apt-get', ['update', '-qq'], { stdio: 'inherit' })
    const install = spawnSync('apt-get', ['install', '-y', '-qq', 'chromium'], {
      stdio: ['ignore', 'ignore', 'inherit'],
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    })
    if (install.status === 0 && systemChromium() !== undefined) return
  }
  console.log('No Chromium found: Playwright downloads its own.')
  execFileSync(process.execPath, ['node_modules/playwright/cli.js', 'install', 'chromium'], { stdio: 'inherit' })
}
