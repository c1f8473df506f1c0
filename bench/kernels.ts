/**
 * `npm run bench:kernels [-- --network NAME] [--export FILE.onnx] [--rounds N] [--empty] [--times] [--lora] [--browser firefox]`: counts the
 * kernels that a run dispatches on the GPU device, and the bytes of the buffers bound to them, by kernel. Counts them for Aquatint's graphs and
 * for an ONNX file of the network that is named (bench/kernels/export.py writes one). With such a file, it then measures the seconds and the
 * browser's CPU seconds of a run, on the software adapter of headless Chromium or Firefox. For this the graph and the file run in turn, every
 * other round in reverse order. `--empty` counts only: the kernels do nothing, which takes seconds instead of minutes. `--times` measures the
 * time of each kernel: each dispatch gets a pass with timestamps of the device. `--lora` counts the dispatches of a step in three forms: without
 * a LoRA, with branches for a LoRA of rank 32 on all Linear layers, and with this LoRA fused into the weights.
 */

import { createReadStream, readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import type { Plugin } from 'vite'
import type { Tab } from '../e2e/browsers/drivers/types.js'
import { benchBrowser, withBenchPage } from './browser-page.js'
import { cpuSecondsOfChildren } from './cpu-time.js'
import type { CountedNetwork, CountedRun } from './kernels/page.js'

const exportPath = '/export.onnx'

/** The networks by name. All have batch 2, for guidance, and widths that a software adapter can run. */
const networks = JSON.parse(readFileSync(new URL('kernels/networks.json', import.meta.url), 'utf8')) as Record<
  string,
  CountedNetwork
>

const options = {
  network: { type: 'string' },
  export: { type: 'string' },
  rounds: { type: 'string', default: '5' },
  empty: { type: 'boolean' },
  lora: { type: 'boolean' },
  times: { type: 'boolean' },
  browser: { type: 'string', default: 'chromium' },
} as const

export async function main(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({ args: [...args], options })
  const { network, export: file, empty, lora, times, browser } = values
  if (file !== undefined && network === undefined) throw new Error('--export needs --network, the network of the file')
  const exported: Plugin = {
    name: 'export',
    configureServer: ({ middlewares }) => {
      middlewares.use(exportPath, (_, response) => {
        if (file === undefined) response.writeHead(404).end()
        else createReadStream(file).pipe(response)
      })
    },
  }
  const measure = async (page: Tab) => {
    if (empty === true) await call<unknown>(page, 'emptyKernels', null)
    if (times === true) await call<null>(page, 'timeKernels', null)
    if (lora === true)
      console.log(
        '| dispatches of a step | without | branches | ratio | fused | ratio |\n| --- | ---: | ---: | ---: | ---: | ---: |',
      )
    for (const [name, counted] of Object.entries(networks)) {
      if (network !== undefined && network !== name) continue
      if (lora === true) {
        const runs = [counted, { ...counted, lora: 'branches' }, { ...counted, lora: 'fused' }] as const
        const steps: number[] = []
        for (const run of runs) {
          await call<CountedRun>(page, 'openRunner', run)
          steps.push(dispatchesOf(await call<CountedRun>(page, 'runAgain', 'own')))
          await call<null>(page, 'closeAll', null)
        }
        const [without = 0, ...others] = steps
        console.log(`| ${[name, without, ...others.flatMap((step) => [step, (step / without).toFixed(2)])].join(' | ')} |`)
        continue
      }
      print(`${name}, first step, with the compilation of its kernels`, await call<CountedRun>(page, 'openRunner', counted))
      print(`${name}, each later step`, await call<CountedRun>(page, 'runAgain', 'own'))
      if (file !== undefined) {
        await call<CountedRun>(page, 'openRunner', exportPath)
        print('the ONNX file', await call<CountedRun>(page, 'runAgain', 'export'))
        if (empty !== true && times !== true) await time(page, Number(values.rounds))
      }
      await call<null>(page, 'closeAll', null)
    }
  }
  await withBenchPage(
    { path: 'bench/kernels/index.html', ready: 'openRunner', browser: benchBrowser(browser), plugins: [exported] },
    measure,
  )
}

function call<Result>(page: Tab, name: string, of: CountedNetwork | string | null): Promise<Result> {
  return page.evaluate<Result, readonly [string, CountedNetwork | string | null]>(
    ([name, of]) => Reflect.get(globalThis, name)(of),
    [name, of],
  )
}

/** Runs Aquatint's graph and the ONNX file in turn, and prints the seconds and the browser's CPU seconds of their runs. */
async function time(page: Tab, rounds: number): Promise<void> {
  const times = { own: [] as Times[], export: [] as Times[] }
  for (let round = 0; round < rounds; round++)
    for (const which of round % 2 === 0 ? (['own', 'export'] as const) : (['export', 'own'] as const)) {
      const before = cpuSecondsOfChildren()
      const { seconds } = await call<CountedRun>(page, 'runAgain', which)
      times[which].push({ seconds, cpu: cpuSecondsOfChildren() - before })
    }
  for (const measure of ['seconds', 'cpu'] as const) {
    const name = measure === 'seconds' ? 'seconds' : 'CPU seconds'
    for (const [which, all] of Object.entries(times)) {
      const values = all.map((one) => one[measure])
      console.log(
        `${which}: ${quantile(values, 0.5).toFixed(3)} ${name} in the median of ${rounds}, ${quantile(values, 0).toFixed(3)} at least`,
      )
    }
    const ratios = times.own.map((own, round) => (times.export[round]?.[measure] ?? Number.NaN) / own[measure])
    const [least, median, most] = [0.25, 0.5, 0.75].map((part) => quantile(ratios, part).toFixed(2))
    console.log(
      `the ONNX file takes ${median} times as many ${name} as Aquatint in the same round (quartiles ${least} to ${most})`,
    )
  }
}

/** What one run took. */
interface Times {
  readonly seconds: number
  readonly cpu: number
}

function quantile(values: readonly number[], part: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.round(part * (sorted.length - 1))] ?? Number.NaN
}

function dispatchesOf({ kernels }: CountedRun): number {
  return kernels.reduce((sum, one) => sum + one.dispatches, 0)
}

function print(name: string, run: CountedRun): void {
  const { kernels, seconds } = run
  const dispatches = dispatchesOf(run)
  const bytes = kernels.reduce((sum, one) => sum + one.bytes, 0)
  console.log(`\n${name}: ${dispatches} dispatches, ${megabytes(bytes)}, ${seconds.toFixed(2)} s`)
  const times = new Map(run.times?.map(({ kernel, milliseconds }) => [kernel, `${milliseconds.toFixed(1)} ms`.padStart(12)]))
  for (const one of kernels.toSorted((a, b) => b.dispatches - a.dispatches))
    console.log(
      `  ${String(one.dispatches).padStart(5)}  ${megabytes(one.bytes).padStart(9)}${times.get(one.kernel) ?? ''}  ${one.kernel}`,
    )
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`
}
