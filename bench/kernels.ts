/**
 * `npm run bench:kernels [-- --network NAME] [--export FILE.onnx] [--empty] [--lora] [--browser firefox]`: counts the kernels that a run dispatches on the GPU device, and the bytes of the
 * buffers bound to them, by kernel, for Aquatint's graphs and for an ONNX file of the same network (bench/kernels/export.py writes one). Also the
 * seconds of a run on the software adapter of headless Chromium or Firefox, to compare within one call. `--empty` counts only: the kernels do nothing, which takes
 * seconds instead of minutes. `--lora` counts the dispatches of a step without a LoRA, with one of rank 32 for all Linear layers as branches, and with it fused into the weights.
 */

import { createReadStream, readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import type { Plugin } from 'vite'
import type { Tab } from '../e2e/browsers/drivers/types.js'
import { benchBrowser, withBenchPage } from './browser-page.js'
import type { CountedNetwork, CountedRun } from './kernels/page.js'

const exportPath = '/export.onnx'

/** By name. All have batch 2, for guidance, and widths that a software adapter can run. */
const networks = JSON.parse(readFileSync(new URL('kernels/networks.json', import.meta.url), 'utf8')) as Record<
  string,
  CountedNetwork
>

const options = {
  network: { type: 'string' },
  export: { type: 'string' },
  empty: { type: 'boolean' },
  lora: { type: 'boolean' },
  browser: { type: 'string', default: 'chromium' },
} as const

export async function main(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({ args: [...args], options })
  const { network, export: file, empty, lora, browser } = values
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
    if (empty === true) await page.evaluate<unknown, null>(() => Reflect.get(globalThis, 'emptyKernels')(), null)
    if (lora === true)
      console.log(
        '| dispatches of a step | without | branches | ratio | fused | ratio |\n| --- | ---: | ---: | ---: | ---: | ---: |',
      )
    for (const [name, counted] of Object.entries(networks)) {
      if (network !== undefined && network !== name) continue
      if (lora === true) {
        const runs = [counted, { ...counted, lora: 'branches' }, { ...counted, lora: 'fused' }] as const
        const steps: number[] = []
        for (const run of runs) steps.push(dispatchesOf((await count(page, 'countOwn', run))[1]))
        const [without = 0, ...others] = steps
        console.log(`| ${[name, without, ...others.flatMap((step) => [step, (step / without).toFixed(2)])].join(' | ')} |`)
        continue
      }
      const [first, step] = await count(page, 'countOwn', counted)
      print(`${name}, first step, with the compilation of its kernels`, first)
      print(`${name}, each later step`, step)
    }
    if (file !== undefined) print('the ONNX file', (await count(page, 'countExport', exportPath))[0])
  }
  await withBenchPage(
    { path: 'bench/kernels/index.html', ready: 'countOwn', browser: benchBrowser(browser), plugins: [exported] },
    measure,
  )
}

function count(page: Tab, call: 'countOwn' | 'countExport', of: CountedNetwork | string): Promise<readonly CountedRun[]> {
  return page.evaluate<readonly CountedRun[], readonly [string, CountedNetwork | string]>(
    ([call, of]) => Reflect.get(globalThis, call)(of),
    [call, of],
  )
}

/** The dispatches of a run. */
function dispatchesOf(run: CountedRun | undefined): number {
  if (run === undefined) throw new Error('A run was not counted')
  return run.kernels.reduce((sum, one) => sum + one.dispatches, 0)
}

function print(name: string, run: CountedRun | undefined): void {
  const dispatches = dispatchesOf(run)
  const { kernels = [], seconds = 0 } = run ?? {}
  const bytes = kernels.reduce((sum, one) => sum + one.bytes, 0)
  console.log(`\n${name}: ${dispatches} dispatches, ${megabytes(bytes)}, ${seconds.toFixed(2)} s`)
  for (const one of kernels.toSorted((a, b) => b.dispatches - a.dispatches))
    console.log(`  ${String(one.dispatches).padStart(5)}  ${megabytes(one.bytes).padStart(9)}  ${one.kernel}`)
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`
}
