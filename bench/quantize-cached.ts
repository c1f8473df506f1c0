/**
 * `node scripts/run.mjs bench/quantize-cached.ts [--blocks N] [--rate BYTES]`: blocks of T5-xxl, float16 and downloaded, made small in
 * Chromium and opened again after a restart of the browser; and from an empty cache, with a server that gives each stream so many bytes a
 * second, made after the download against made while it goes on. Seconds, bytes, and the renderer's peak memory above idle. Needs Linux, for
 * /proc.
 */

import { parseArgs } from 'node:util'
import type { Page } from '@playwright/test'
import { launchBrowser } from '../e2e/hub/browser.js'
import { servePage } from '../e2e/hub/harness.js'
import { startHubServer } from '../e2e/hub-server/server.js'
import { parseMemorySize } from '../src/runtime/memory-size.js'
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
  const { values } = parseArgs({
    args: [...args],
    options: { blocks: { type: 'string', default: '4' }, rate: { type: 'string', default: '3MB' } },
  })
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
    await browser.close()
    server.setFaults({ bytesPerSecond: parseMemorySize(values.rate, '--rate') })
    console.log(`\nFrom an empty cache, ${values.rate} per second and stream:`)
    console.log('| q4 | seconds | renderer peak above idle, MB |\n| --- | --- | --- |')
    const after = await fromEmpty(served.url, server.url, ['fill', 'q4'])
    console.log(`| downloaded (${after.seconds[0]?.toFixed(1)}), then made (${after.seconds[1]?.toFixed(1)}) | ${cells(after)} |`)
    const during = await fromEmpty(served.url, server.url, ['arriving'])
    console.log(`| made while it is downloaded | ${cells(during)} |`)
  } finally {
    await browser.close()
    await Promise.all([server.close(), served.close()])
  }
}

/** What the methods take one after the other in a browser of their own. */
async function fromEmpty(site: string, endpoint: string, methods: readonly string[]): Promise<FromEmpty> {
  const browser = await launchBrowser()
  try {
    const page = await open(await browser.newPage(), site)
    const peak = watchPeak(renderersOf(browser.profile))
    const seconds: number[] = []
    for (const method of methods) seconds.push((await call(page, method, endpoint)).seconds)
    return { seconds, peak: peak() }
  } finally {
    await browser.close()
  }
}

interface FromEmpty {
  readonly seconds: readonly number[]
  readonly peak: number
}

function cells({ seconds, peak }: FromEmpty): string {
  return `${seconds.reduce((sum, part) => sum + part, 0).toFixed(1)} | ${(peak / 1e6).toFixed(0)}`
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
