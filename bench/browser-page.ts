/** Opens a benchmark's page in a headless browser. Vite's development server serves the page from the project's folder. */

import { fileURLToPath } from 'node:url'
import { createServer, type PluginOption } from 'vite'
import { engines } from '../e2e/browsers/drivers/engines.js'
import type { Tab } from '../e2e/browsers/drivers/types.js'
import { ensureChromium } from '../scripts/chromium.mjs'

/** The browsers that `--browser` can name: Chromium with SwiftShader, or Firefox with Mesa's lavapipe, which has float16. */
export type BenchBrowser = 'chromium' | 'firefox'

/** Checks the name of a browser. */
export function benchBrowser(name: string): BenchBrowser {
  if (name !== 'chromium' && name !== 'firefox')
    throw new Error(`--browser is ${JSON.stringify(name)}; allowed: chromium, firefox`)
  return name
}

/** The page to open, and the browser to open it in. */
export interface BenchPage {
  /** The page's path below the project's folder. */
  readonly path: string
  /** A global function of the page that exists when it has loaded. */
  readonly ready: string
  readonly browser?: BenchBrowser | undefined
  readonly plugins?: PluginOption[] | undefined
}

/** Opens a page in a browser with an empty profile, and closes everything when `work` has ended. */
export async function withBenchPage(
  { path, ready, browser: name = 'chromium', plugins = [] }: BenchPage,
  work: (tab: Tab) => Promise<void>,
): Promise<void> {
  if (name === 'chromium') ensureChromium()
  const missing = engines[name].missing()
  if (missing !== undefined) throw new Error(missing)
  const server = await createServer({
    root: fileURLToPath(new URL('..', import.meta.url)),
    configFile: false,
    logLevel: 'error',
    optimizeDeps: { exclude: ['onnxruntime-web'] },
    server: { port: 0, host: '127.0.0.1', hmr: false, watch: null },
    plugins,
  })
  await server.listen()
  const browser = await engines[name].launch()
  try {
    const tab = await browser.newTab()
    await tab.goto(`${server.resolvedUrls?.local[0] ?? ''}${path}`)
    await tab.waitForFunction((global) => Reflect.has(globalThis, global), ready)
    await work(tab)
  } finally {
    await browser.close()
    await server.close()
  }
}
