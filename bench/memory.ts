/**
 * `npm run bench:memory [-- --tables] [--write] [--check]`
 *
 * What a pipeline takes of a GPU's memory. First the plans of the published models at their own size, for each type and residence; then,
 * unless `--tables`, images of a tiny fixture and of the bundled model in headless Chromium by the public API: the measured peak of all
 * GPU buffers, seconds, and whether the image is the same. `--write` puts the first tables into docs/memory.md; `--check` only
 * compares them with what is there, as `npm test` does.
 */

import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { startHubServer } from '../e2e/hub-server/server.js'
import { ensureChromium } from '../scripts/chromium.mjs'
import type { OffloadMode } from '../src/pipelines/types.js'
import { formatBytes } from '../src/util/format-bytes.js'
import { openBenchPage } from './memory/browser.js'
import { hasTables, publishedTables, writeTables } from './memory/published-tables.js'

/** Prints the tables; 1 where a run passed its budget or gave another image, or docs/memory.md has other tables. */
export async function main(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      tables: { type: 'boolean', default: false },
      write: { type: 'boolean', default: false },
      check: { type: 'boolean', default: false },
    },
  })
  const tables = publishedTables()
  if (values.check) {
    if (hasTables(tables)) return 0
    console.error('The tables of docs/memory.md are not those of today: npm run bench:memory -- --tables --write')
    return 1
  }
  console.log(tables)
  if (values.write) writeTables(tables)
  if (values.tables) return 0
  ensureChromium()
  let kept = true
  for (const fixture of fixtures) kept = (await measure(fixture)) && kept
  return kept ? 0 : 1
}

/** A repository of this project and the budgets that it is run under. */
interface Fixture {
  readonly name: string
  readonly folder: string
  readonly size: number
  readonly cases: readonly (readonly [OffloadMode, number | undefined])[]
}

const fixtures: readonly Fixture[] = [
  {
    name: 'tiny-sdxl',
    folder: 'fixtures/tiny-sdxl/repo',
    size: 64,
    cases: [
      ['resident', undefined],
      ['model', undefined],
      ['auto', 3e6],
      ['auto', 2e6],
      ['auto', 1.8e6],
    ],
  },
  {
    name: 'aquatint-emoji',
    folder: 'public/models/aquatint-emoji',
    size: 128,
    cases: [
      ['resident', undefined],
      ['model', undefined],
      ['auto', 60e6],
      ['auto', 40e6],
      ['auto', 32e6],
    ],
  },
]
const steps = 2

/** Makes the same image under every residence and budget, each in a browser of its own. Resolves to whether all kept their budget and agreed. */
async function measure({ name, folder, size, cases }: Fixture): Promise<boolean> {
  const repo = `owner/${name}`
  const server = await startHubServer({ repositories: { [repo]: fileURLToPath(new URL(`../${folder}`, import.meta.url)) } })
  await server.commit(repo)
  console.log(`\n${name}, ${size} × ${size}, ${steps} steps, software adapter`)
  console.log('| offload | budget | GPU buffers at most | weights at most | load s | first image s | next image s | image |')
  console.log('| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |')
  let expected: number | undefined
  let kept = true
  for (const [offload, maxMemory] of cases) {
    const bench = await openBenchPage()
    try {
      const request = { endpoint: server.url, repo, device: 'webgpu', offload, maxMemory, size, steps, images: 2 } as const
      const result = await bench.makeImage(request)
      expected ??= result.pixels
      const { memory } = result
      const over = maxMemory !== undefined && memory.peak > maxMemory
      const times = [result.reloadSeconds, ...result.imageSeconds].map((time) => time.toFixed(2))
      const cells = [
        offload,
        maxMemory === undefined ? 'none' : formatBytes(maxMemory),
        formatBytes(memory.peak) + (over ? ' OVER' : ''),
        formatBytes(memory.peakWeights),
        ...times,
      ]
      console.log(`| ${cells.join(' | ')} | ${result.pixels === expected ? 'the same' : 'ANOTHER'} |`)
      kept &&= !over && result.pixels === expected
    } finally {
      await bench.close()
    }
  }
  await server.close()
  return kept
}
