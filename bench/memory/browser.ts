/** Opens the benchmarks' page in a browser of its own, and watches the memory of the browser's processes. */

import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import type { Page } from '@playwright/test'
import { build, preview } from 'vite'
import { launchBrowser } from '../../e2e/hub/browser.js'
import { watchPeaks } from '../renderer-memory.js'
import type { ImageRequest, ImageResult } from './protocol.js'

const pages = fileURLToPath(new URL('.', import.meta.url))
const dist = fileURLToPath(new URL('../../dist/', import.meta.url))

export interface BenchBrowser {
  readonly page: Page
  /** Generates images in the page. */
  makeImage(request: ImageRequest): Promise<ImageResult>
  /** Stops watching. Returns the most resident bytes of each kind of process since the start (on Linux; empty elsewhere). */
  peaks(): Readonly<Record<string, number>>
  close(): Promise<void>
}

/** Builds and opens the page. */
export async function openBenchPage(): Promise<BenchBrowser> {
  // The page is built into a folder of its own, because two benchmarks may run at the same time.
  await mkdir(dist, { recursive: true })
  const outDir = await mkdtemp(`${dist}memory-bench-`)
  const options = { root: pages, configFile: false, base: './', logLevel: 'error', worker: { format: 'es' } } as const
  await build({
    ...options,
    build: { outDir, emptyOutDir: true, target: 'es2023', rollupOptions: { input: `${pages}index.html` } },
  })
  const site = await preview({ ...options, build: { outDir }, preview: { port: 0, host: '127.0.0.1' } })
  const address = site.resolvedUrls?.local[0]
  if (address === undefined) throw new Error('The page is not being served')
  const browser = await launchBrowser()
  const peaks = watchPeaks(browser.profile)
  const page = await browser.newPage()
  page.on('console', (message) => console.log(`  ${message.text()}`))
  page.on('pageerror', (error) => console.error(`  page error: ${error.message}`))
  await page.goto(new URL('index.html', address).href)
  await page.waitForFunction(() => window.runNetwork !== undefined)
  page.setDefaultTimeout(0)
  return {
    page,
    makeImage: (request) =>
      page.evaluate((given) => {
        if (window.makeImage === undefined) throw new Error('The page has no makeImage')
        return window.makeImage(given)
      }, request),
    peaks,
    close: async () => {
      peaks()
      await browser.close()
      await site.close()
      await rm(outDir, { recursive: true })
    },
  }
}
