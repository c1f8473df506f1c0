/**
 * `npm run bench:memory [-- --tables] [--write] [--check] [--full-size]`
 *
 * Reports the GPU memory of pipelines. First it prints the plans of the published models at their default size, for each type and
 * residence. Then, without `--tables`, it generates images of a tiny fixture and of the bundled model in headless Chromium through the
 * public API, and prints the planned and the measured peak of all GPU buffers, the seconds, and whether the images are the same. It fails
 * if a run exceeds its plan, or if images differ. `--full-size` also runs SDXL's UNet at its real dimensions, as `npm run bench:full-size`
 * does, which takes minutes and 5 GB of disk. `--write` writes the tables to docs/memory-figures.md and docs/memory.md; `--check` only
 * compares the tables of the plans with these files, as `npm test` does.
 */

import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { startHubServer } from '../e2e/hub-server/server.js'
import { ensureChromium } from '../scripts/chromium.mjs'
import type { OffloadMode } from '../src/pipelines/types.js'
import { formatBytes } from '../src/util/format-bytes.js'
import { openBenchPage } from './memory/browser.js'
import { main as runFullSize } from './full-size.js'
import { readSection, writeSection } from './memory/document.js'
import { budgetTable, optionsTable } from './memory/options-table.js'
import { publishedTables } from './memory/published-tables.js'

/** Prints the tables. Returns 1 if a run exceeded its plan or gave another image, or if the documents have other tables. */
export async function main(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      tables: { type: 'boolean', default: false },
      write: { type: 'boolean', default: false },
      check: { type: 'boolean', default: false },
      'full-size': { type: 'boolean', default: false },
    },
  })
  const tables = publishedTables()
  const options = optionsTable()
  const budgets = budgetTable()
  if (values.check) {
    if (readSection('tables') === tables && readSection('options') === options && readSection('budgets') === budgets) return 0
    console.error(
      'The tables in docs/memory-figures.md or docs/memory.md are out of date: run "npm run bench:memory -- --tables --write"',
    )
    return 1
  }
  console.log(`${options}\n\n${tables}\n\n${budgets}`)
  if (values.write) {
    writeSection('tables', tables)
    writeSection('options', options)
    writeSection('budgets', budgets)
  }
  if (values.tables) return 0
  ensureChromium()
  const measured: Measured[] = []
  for (const fixture of fixtures) measured.push(await measure(fixture))
  if (values.write) writeSection('measured', measured.map(({ table }) => table).join('\n\n'))
  const fullSize = values['full-size']
    ? await runFullSize(['--model', 'sdxl', '--max-memory', '3GB', '--latent', '4', '--runs', '1'])
    : 0
  return measured.every(({ kept }) => kept) ? fullSize : 1
}

/** A repository of this project, and the budgets to run it with. */
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
      ['auto', 30e6],
    ],
  },
]
const steps = 2

interface Measured {
  readonly table: string
  /** Whether all runs stayed within their plans, and gave the same image. */
  readonly kept: boolean
}

/** Generates the same image with every residence and budget, each in a browser of its own. */
async function measure({ name, folder, size, cases }: Fixture): Promise<Measured> {
  const repo = `owner/${name}`
  const server = await startHubServer({ repositories: { [repo]: fileURLToPath(new URL(`../${folder}`, import.meta.url)) } })
  await server.commit(repo)
  const lines = [
    `**${name}**, ${size} × ${size}, ${steps} steps`,
    '',
    '| `offload` | budget | weights stay as | uploaded again | planned peak | measured peak | of that weights | load s | first image s | next image s | image |',
    '| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |',
  ]
  console.log(`\n${lines.join('\n')}`)
  let expected: number | undefined
  let kept = true
  for (const [offload, maxMemory] of cases) {
    const bench = await openBenchPage()
    try {
      const request = { endpoint: server.url, repo, device: 'webgpu', offload, maxMemory, size, steps, images: 2 } as const
      const result = await bench.makeImage(request)
      expected ??= result.pixels
      const { memory, planned } = result
      const over = memory.peak > planned.peakBytes
      const times = [result.reloadSeconds, ...result.imageSeconds].map((time) => time.toFixed(1))
      const cells = [
        offload,
        maxMemory === undefined ? 'none' : formatBytes(maxMemory),
        planned.residence,
        formatBytes(planned.streamedBytes),
        formatBytes(planned.peakBytes),
        formatBytes(memory.peak) + (over ? ' OVER' : ''),
        formatBytes(memory.peakWeights),
        ...times,
        result.pixels === expected ? 'the same' : 'ANOTHER',
      ]
      lines.push(`| ${cells.join(' | ')} |`)
      console.log(lines.at(-1))
      kept &&= !over && result.pixels === expected
    } finally {
      await bench.close()
    }
  }
  await server.close()
  return { table: lines.join('\n'), kept }
}
