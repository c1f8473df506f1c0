/**
 * `npm run bench:wasm -- --threads`: times a picture of the bundled model on the CPU, with one thread and with one for each core (at most
 * 8). Two pages of the built site (`npm run build` first) in Chromium generate pictures in turn: one from a server without the headers for
 * cross-origin isolation, and one from a server with them.
 */

import { chromium, type Browser, type Page } from '@playwright/test'
import { startFolder } from '../../e2e/ui/site-server.js'
import { chromiumLaunchOptions } from '../../scripts/chromium.mjs'

const isolation = { 'Cross-Origin-Opener-Policy': 'same-origin', 'Cross-Origin-Embedder-Policy': 'require-corp' }

/** The first pictures compile WebAssembly. */
const warmUp = 3

/** Milliseconds of one picture. */
function picture(page: Page): Promise<number> {
  return page.evaluate(async () => {
    const box = document.querySelector('aquatint-prompt')
    if (box === null) throw new Error('The page has no prompt box')
    const begin = performance.now()
    await box.generate()
    return performance.now() - begin
  })
}

/** The first quartile, the median and the third quartile. */
function quartiles(values: readonly number[]): readonly number[] {
  const sorted = values.toSorted((a, b) => a - b)
  return [0.25, 0.5, 0.75].map((part) => sorted[Math.floor(part * (sorted.length - 1))] ?? Number.NaN)
}

interface Visit {
  readonly page: Page
  readonly threads: number
  readonly times: number[]
}

/** Opens the site in a new browser context, and generates the warm-up pictures, which are not timed. */
async function visit(browser: Browser, site: string): Promise<Visit> {
  const context = await browser.newContext({ serviceWorkers: 'block', reducedMotion: 'reduce' })
  const page = await context.newPage()
  await page.goto(`${site}/?device=wasm&steps=10&seed=1&prompt=a%20red%20apple`)
  for (let round = 0; round < warmUp; round++) await picture(page)
  const threads = await page.evaluate(() => (crossOriginIsolated ? Math.min(navigator.hardwareConcurrency, 8) : 1))
  return { page, threads, times: [] }
}

/** Prints the time of a picture with one thread and with all, and their ratio in the same round. */
export async function compareThreads(rounds: number): Promise<void> {
  const [plain, isolated] = [await startFolder('dist/site'), await startFolder('dist/site', {}, isolation)]
  const browser = await chromium.launch(chromiumLaunchOptions())
  try {
    const [one, all] = [await visit(browser, plain.url), await visit(browser, isolated.url)]
    const ratios: number[] = []
    for (let round = 0; round < rounds; round++) {
      const [alone, shared] = [await picture(one.page), await picture(all.page)]
      one.times.push(alone)
      all.times.push(shared)
      ratios.push(shared / alone)
    }
    for (const { threads, times } of [one, all]) {
      const [low, median, high] = quartiles(times).map((milliseconds) => milliseconds.toFixed(0))
      console.log(`${threads} thread${threads === 1 ? '' : 's'}: ${median} ms a picture (${low} to ${high})`)
    }
    const [low, median, high] = quartiles(ratios).map((ratio) => ratio.toFixed(2))
    console.log(`${all.threads} threads take ${median} (${low} to ${high}) of the time of one, over ${rounds} rounds`)
  } finally {
    await browser.close()
    await Promise.all([plain.close(), isolated.close()])
  }
}
