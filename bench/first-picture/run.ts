/**
 * `npm run bench:first-picture [-- --browser chromium] [--model FOLDER] [--rate MB/s] [--rounds N]`: how long a cold start (with an empty cache) and a warm start
 * (from the cache) take to the first step, split into download, upload, compiling and running, with and without compiling kernels while
 * weights download. Each round has all four starts, so that they are comparable; each cold start has a new browser. The server is on this
 * machine and sends at most `rate`.
 */

import { parseArgs } from 'node:util'
import { readRepository } from '../../e2e/fixture-repository.js'
import { startHubServer } from '../../e2e/hub-server/server.js'
import type { HubServer } from '../../e2e/hub-server/types.js'
import { benchBrowser, withBenchPage, type BenchBrowser } from '../browser-page.js'
import type { Start, StartRequest } from './page.js'

const id = 'owner/model'
/**
 * The default model. It has three text encoders, but is small: on a software adapter a start takes seconds. With a model for larger pictures, it
 * takes minutes.
 */
const tiny = 'fixtures/tiny-sd3/repo'

const options = {
  browser: { type: 'string', default: 'firefox' },
  model: { type: 'string', default: tiny },
  // At this rate the model's 2.4 MB take longer than compiling its kernels, as a published model's gigabytes do.
  rate: { type: 'string', default: '0.3' },
  rounds: { type: 'string', default: '3' },
} as const

/** The starts of each round. A warm start runs in the browser of the cold start before it. */
const ways = [false, true].flatMap((prepares) =>
  (['cold', 'warm'] as const).map((kind) => ({
    name: `${kind}, kernels ${prepares ? 'while weights download' : 'when they run'}`,
    kind,
    prepares,
  })),
)

export async function main(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({ args: [...args], options })
  const browser = benchBrowser(values.browser)
  const bytesPerSecond = Number(values.rate) * 1e6
  const server = await startHubServer({ repositories: { [id]: readRepository(values.model) }, faults: { bytesPerSecond } })
  const starts = new Map<string, Start[]>(ways.map(({ name }) => [name, []]))
  try {
    await server.commit(id)
    for (let round = 0; round < Number(values.rounds); round++) {
      for (const prepares of round % 2 === 0 ? [false, true] : [true, false]) {
        const [cold, warm] = await bothStarts(browser, server, prepares)
        for (const way of ways) if (way.prepares === prepares) starts.get(way.name)?.push(way.kind === 'cold' ? cold : warm)
      }
    }
  } finally {
    await server.close()
  }
  print(starts)
}

/** A start with an empty cache, and a second start after a reload of the page. */
async function bothStarts(browser: BenchBrowser, { url }: HubServer, prepares: boolean): Promise<readonly [Start, Start]> {
  const made: Start[] = []
  await withBenchPage({ path: 'bench/first-picture/index.html', ready: 'start', browser }, async (tab) => {
    const start = () =>
      tab.evaluate<Start, StartRequest>((request) => Reflect.get(globalThis, 'start')(request), {
        endpoint: url,
        repo: id,
        prepares,
      })
    made.push(await start())
    await tab.reload()
    await tab.waitForFunction((global) => Reflect.has(globalThis, global), 'start')
    made.push(await start())
  })
  const [cold, warm] = made
  if (cold === undefined || warm === undefined) throw new Error('A start is missing')
  return [cold, warm]
}

/** Prints the median milliseconds of each way to start, and the median of the ratios to the first way in the same round. */
function print(starts: ReadonlyMap<string, readonly Start[]>): void {
  const [reference = []] = starts.values()
  console.log(
    '| start | download, ms | upload | compile | run | to the first step | ratio to the first line | pipelines compiled before the last byte, after |',
  )
  console.log('| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |')
  for (const [name, all] of starts) {
    const times = (['download', 'upload', 'compile', 'run', 'total'] as const).map((part) =>
      median(all.map((start) => start[part])).toFixed(0),
    )
    const ratio = median(all.map(({ total }, round) => total / (reference[round]?.total ?? Number.NaN))).toFixed(2)
    const [before, after] = (['before', 'after'] as const).map((part) => median(all.map((start) => start[part])))
    console.log(`| ${[name, ...times, ratio, `${before}, ${after}`].join(' | ')} |`)
  }
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN
}
