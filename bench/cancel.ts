/**
 * `npm run bench:cancel`: how long Cancel takes in each phase on the built site (`npm run build` first), in milliseconds and as a multiple
 * of the duration of a denoising step. The fixture is tiny, so the figures show the cost of cancelling, not of the operator that is running.
 */

import { chromium, type Page } from '@playwright/test'
import { chromiumLaunchOptions } from '../scripts/chromium.mjs'
import { startHubServer } from '../e2e/hub-server/server.js'
import { startFolder } from '../e2e/ui/site-server.js'

const model = 'fixtures/tiny-sd15'
const rounds = 5

/** The phases in which a generation is cancelled. In `weights`, weights are read; `status` events name the other phases. */
const moments = ['encoding', 'weights', 'denoising', 'decoding'] as const

export async function main(): Promise<void> {
  const server = await startHubServer({ repositories: { [model]: `${model}/repo` } })
  const site = await startFolder('dist/site')
  const browser = await chromium.launch(chromiumLaunchOptions())
  try {
    const page = await browser.newPage({ reducedMotion: 'reduce' })
    const query = { model, endpoint: server.url, device: 'wasm', steps: '500', width: '32', height: '32', prompt: 'a red apple' }
    const url = `${site.url}/?${new URLSearchParams(query)}`
    const step = await millisecondsPerStep(page, url)
    console.log(`One denoising step: ${step.toFixed(1)} ms\n`)
    console.log('Milliseconds (median, and the most) until the box is ready, and until the next generation begins:\n')
    console.log('| cancelled while | ready | most | next | most | steps until next |\n| --- | --- | --- | --- | --- | --- |')
    for (const moment of moments) {
      const times: Times[] = []
      for (let round = 0; round < rounds; round++) times.push(await cancelAt(page, url, moment))
      const [ready, next] = (['ready', 'next'] as const).map((what) => summary(times.map((each) => each[what])))
      if (ready === undefined || next === undefined) throw new Error('Nothing was measured')
      const cells = [ready.median, ready.most, next.median, next.most].map((milliseconds) => milliseconds.toFixed(0))
      console.log(`| ${[moment, ...cells, (next.median / step).toFixed(1)].join(' | ')} |`)
    }
  } finally {
    await browser.close()
    await Promise.all([server.close(), site.close()])
  }
}

function summary(times: readonly number[]): { readonly median: number; readonly most: number } {
  const sorted = times.toSorted((a, b) => a - b)
  return { median: sorted[sorted.length >> 1] ?? NaN, most: sorted.at(-1) ?? NaN }
}

/** Opens the page and waits until its model is loaded. */
async function open(page: Page, url: string): Promise<void> {
  await page.goto(url)
  await page.waitForFunction(() => document.querySelector('aquatint-prompt')?.state === 'ready')
}

/** The mean duration of a step in milliseconds, over the ten steps after the first one that the page reports. */
async function millisecondsPerStep(page: Page, url: string): Promise<number> {
  await open(page, url)
  return page.evaluate(
    () =>
      new Promise<number>((resolve, reject) => {
        const box = document.querySelector('aquatint-prompt')
        let first = 0
        box?.addEventListener('step', ({ detail }) => {
          if (detail.step === 0) first = performance.now()
          if (detail.step !== 10) return
          resolve((performance.now() - first) / 10)
          box.cancel()
        })
        box?.generate().then(() => reject(new Error('It ended before the tenth step')), reject)
      }),
  )
}

/** Milliseconds from the call of `cancel()`. */
interface Times {
  /** Milliseconds until the prompt box is ready. */
  readonly ready: number
  /** Milliseconds until the worker, which has left the cancelled generation, begins the next one. */
  readonly next: number
}

/** Cancels when the page first reports the phase, and generates again as soon as the prompt box is ready. */
async function cancelAt(page: Page, url: string, moment: (typeof moments)[number]): Promise<Times> {
  await open(page, url)
  return page.evaluate(
    (wanted) =>
      new Promise<Times>((resolve, reject) => {
        const box = document.querySelector('aquatint-prompt')
        if (box === null) throw new Error('The page has no prompt box')
        // Decoding comes after the last step, so it needs a short generation. With 500 steps, no generation ends before it is cancelled.
        if (wanted === 'decoding') box.settings = { ...box.settings, numInferenceSteps: 2 }
        let pressed = 0
        let ready = 0
        box.addEventListener('progress', ({ detail }) => {
          if (ready > 0 && detail.type === 'status') {
            resolve({ ready: ready - pressed, next: performance.now() - pressed })
            box.cancel()
          }
          const here = detail.type === 'status' ? detail.phase : detail.type === 'weights' && detail.loaded === 0 ? 'weights' : ''
          if (pressed > 0 || here !== wanted) return
          pressed = performance.now()
          box.cancel()
        })
        box.addEventListener('statechange', ({ detail }) => {
          if (pressed === 0 || ready > 0 || detail !== 'ready') return
          ready = performance.now()
          box.generate().catch(() => {})
        })
        box.generate().then(
          () => reject(new Error(`A picture arrived: ${wanted} was missed or not cancelled`)),
          () => {},
        )
      }),
    moment,
  )
}
