/** A page of a benchmark in headless Chromium, from Vite's server with the project's own files. */

import { fileURLToPath } from 'node:url'
import { chromium, type Page } from 'playwright'
import { createServer, type PluginOption } from 'vite'
import { chromiumLaunchOptions, ensureChromium } from '../scripts/chromium.mjs'

/** Opens the page at `path` (below the project's folder), waits for the global function `ready`, and closes everything when `work` has ended. */
export async function withBenchPage(
  path: string,
  ready: string,
  work: (page: Page) => Promise<void>,
  plugins: PluginOption[] = [],
): Promise<void> {
  ensureChromium()
  const server = await createServer({
    root: fileURLToPath(new URL('..', import.meta.url)),
    configFile: false,
    logLevel: 'error',
    optimizeDeps: { exclude: ['onnxruntime-web'] },
    server: { port: 0, host: '127.0.0.1', hmr: false, watch: null },
    plugins,
  })
  await server.listen()
  const browser = await chromium.launch(chromiumLaunchOptions())
  try {
    const page = await browser.newPage()
    page.on('pageerror', (error) => console.error(error.message))
    await page.goto(`${server.resolvedUrls?.local[0] ?? ''}${path}`)
    await page.waitForFunction((name) => Reflect.has(globalThis, name), ready)
    page.setDefaultTimeout(0)
    await work(page)
  } finally {
    await browser.close()
    await server.close()
  }
}
