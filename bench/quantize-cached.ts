/**
 * `node scripts/run.mjs bench/quantize-cached.ts [--blocks N] [--rate BYTES]`: downloads blocks of T5-xxl in float16, quantizes them in
 * Chromium, and opens them again after a restart of the browser. Then, from an empty cache and with a server that limits each stream to `--rate` bytes per
 * second, it compares quantizing after the download with quantizing during the download. Reports seconds, bytes, and the renderer's peak memory above idle, in a browser
 * without DevTools attached. Fails if a peak is above 256 MB. Needs Linux, for /proc.
 */

import { parseArgs } from 'node:util'
import { openUnwatchedPage, type UnwatchedPage } from '../e2e/hub/unwatched-page.js'
import { startHubServer } from '../e2e/hub-server/server.js'
import { parseMemorySize } from '../src/memory/budget.js'
import { blocksOfT5, virtualCheckpoint } from './quantize/virtual-checkpoint.js'
import { renderersOf, watchPeak } from './renderer-memory.js'

const id = 'owner/t5'
/** The limit of the renderer's memory above idle. */
const mostBytes = 256e6

interface Measured {
  readonly bytes: number
  readonly seconds: readonly number[]
  /** The renderer's memory above idle, in bytes. */
  readonly peak: number
}

/** Runs the benchmark. Returns the exit code. */
export async function main(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: { blocks: { type: 'string', default: '4' }, rate: { type: 'string', default: '3MB' } },
  })
  const server = await startHubServer({ repositories: { [id]: virtualCheckpoint(blocksOfT5(Number(values.blocks)), 1e9) } })
  await server.commit(id)
  const peaks: number[] = []
  /** Calls the worker's methods one after the other. */
  const measure = async (page: UnwatchedPage, ...methods: string[]): Promise<Measured> => {
    await page.call('ready')
    const peak = watchPeak(renderersOf(page.profile))
    let bytes = 0
    const seconds: number[] = []
    for (const method of methods) {
      const called = await page.call<{ bytes: number; seconds: number }>(method, id, server.url)
      bytes = called.bytes
      seconds.push(called.seconds)
    }
    peaks.push(peak())
    return { bytes, seconds, peak: peak() }
  }
  try {
    await withPage(async (page) => {
      const filled = await measure(page, 'fill')
      console.log(
        '| what | MB | seconds | MB/s of the original | renderer peak above idle, MB |\n| --- | --- | --- | --- | --- |',
      )
      print('float16, downloaded', filled, filled)
      for (const word of ['q8', 'q4']) {
        for (const what of ['made', 'opened again']) {
          await page.restart()
          server.clearLog()
          print(`${word}, ${what}`, await measure(page, word), what === 'made' ? filled : undefined)
          if (server.log.some((entry) => entry.kind === 'file')) throw new Error('Something was downloaded again')
        }
      }
    })
    server.setFaults({ bytesPerSecond: parseMemorySize(values.rate, '--rate') })
    console.log(`\nFrom an empty cache, ${values.rate} per second and stream:`)
    console.log('| q4 | seconds | renderer peak above idle, MB |\n| --- | --- | --- |')
    for (const [what, methods] of [
      ['downloaded, then made', ['fill', 'q4']],
      ['made while it is downloaded', ['arriving']],
    ] as const) {
      const { seconds, peak } = await withPage((page) => measure(page, ...methods))
      console.log(`| ${what} | ${seconds.map((part) => part.toFixed(1)).join(' + ')} | ${megabytes(peak)} |`)
    }
  } finally {
    await server.close()
  }
  const most = Math.max(...peaks)
  console.log(`\nMost above idle: ${megabytes(most)} MB; at most ${megabytes(mostBytes)} are allowed.`)
  return most > mostBytes ? 1 : 0
}

function print(what: string, { bytes, seconds, peak }: Measured, original: Measured | undefined): void {
  const total = seconds.reduce((sum, part) => sum + part, 0)
  const speed = original === undefined ? '' : (original.bytes / 1e6 / total).toFixed(0)
  console.log(`| ${what} | ${megabytes(bytes)} | ${total.toFixed(2)} | ${speed} | ${megabytes(peak)} |`)
}

const megabytes = (bytes: number) => (bytes / 1e6).toFixed(0)

async function withPage<T>(run: (page: UnwatchedPage) => Promise<T>): Promise<T> {
  const page = await openUnwatchedPage('../../bench/quantize/worker.ts')
  try {
    return await run(page)
  } finally {
    await page.close()
  }
}
