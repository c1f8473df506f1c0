/**
 * `node scripts/run.mjs bench/quantize-cached.ts [--blocks N]`: blocks of T5-xxl, float16 and downloaded, made small in Chromium and opened
 * again after a restart of the browser: seconds, bytes, and the renderer's peak memory above idle. Needs Linux, for /proc.
 */

import { parseArgs } from 'node:util'
import type { Page } from '@playwright/test'
import { launchBrowser } from '../e2e/hub/browser.js'
import { servePage } from '../e2e/hub/harness.js'
import { startHubServer } from '../e2e/hub-server/server.js'
import { publishedModel } from './memory/weight-tables.js'
import { virtualCheckpoint } from './quantize/virtual-checkpoint.js'
import { renderersOf, watchPeak } from './renderer-memory.js'

const id = 'owner/t5'

/** The tensors of the first blocks of T5-xxl. */
function blocksOfT5(blocks: number): readonly (readonly [string, readonly number[]])[] {
  return Object.entries(publishedModel('t5-xxl-encoder').tensors).filter(([name]) => {
    const block = /^encoder\.block\.(\d+)\./.exec(name)?.[1]
    return block !== undefined && Number(block) < blocks
  })
}

/** Runs the bench. */
export async function main(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({ args: [...args], options: { blocks: { type: 'string', default: '4' } } })
  const server = await startHubServer({ repositories: { [id]: virtualCheckpoint(blocksOfT5(Number(values.blocks)), 1e9) } })
  await server.commit(id)
  const served = await servePage('../../bench/quantize/worker.ts')
  const browser = await launchBrowser()
  try {
    const filled = await call(await open(await browser.newPage(), served.url), 'fill', server.url)
    console.log(`${(filled.bytes / 1e6).toFixed(0)} MB of float16, downloaded in ${filled.seconds.toFixed(1)} s`)
    console.log('| what | MB | seconds | MB/s of the original | renderer peak above idle, MB |\n| --- | --- | --- | --- | --- |')
    for (const [word, what] of [
      ['q8', 'made'],
      ['q8', 'opened again'],
      ['q4', 'made'],
      ['q4', 'opened again'],
    ] as const) {
      await browser.restart()
      const page = await open(await browser.newPage(), served.url)
      server.clearLog()
      const peak = watchPeak(renderersOf(browser.profile))
      const { bytes, seconds } = await call(page, word, server.url)
      const speed = what === 'made' ? (filled.bytes / 1e6 / seconds).toFixed(0) : ''
      console.log(
        `| ${word}, ${what} | ${(bytes / 1e6).toFixed(0)} | ${seconds.toFixed(2)} | ${speed} | ${(peak() / 1e6).toFixed(0)} |`,
      )
      if (server.log.some((entry) => entry.kind === 'file')) throw new Error('Something was downloaded again')
    }
  } finally {
    await browser.close()
    await Promise.all([server.close(), served.close()])
  }
}

async function open(page: Page, url: string): Promise<Page> {
  await page.goto(url)
  return page
}

async function call(page: Page, method: string, endpoint: string): Promise<{ bytes: number; seconds: number }> {
  type Answer = { value?: { bytes: number; seconds: number }; error?: string }
  const answer = await page.evaluate<Answer, { method: string; args: string[] }>(
    ({ method, args }) => Reflect.get(globalThis, 'call')(method, args),
    { method, args: [id, endpoint] },
  )
  if (answer.value === undefined) throw new Error(answer.error)
  return answer.value
}
