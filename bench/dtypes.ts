/**
 * `node scripts/run.mjs bench/dtypes.ts [--repo FOLDER] [--size PIXELS] [--steps N] [--device wasm|webgpu]`
 *
 * Compares the values of `dtype` on one model, by default the bundled one: bytes on disk, bytes on the device, seconds to load with
 * an empty cache and again from the cache, seconds of a step. Runs in headless Chromium through the public API, on wasm and on WebGPU's software adapter.
 */

import { basename, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { startHubServer } from '../e2e/hub-server/server.js'
import { ensureChromium } from '../scripts/chromium.mjs'
import type { WeightsDType } from '../src/pipelines/types.js'
import { formatBytes } from '../src/util/format-bytes.js'
import { openBenchPage } from './memory/browser.js'

const dtypes: readonly WeightsDType[] = ['float32', 'float16', 'q8', 'q4']

/** Prints a table for each device. */
export async function main(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      repo: { type: 'string', default: 'public/models/aquatint-emoji' },
      size: { type: 'string', default: '128' },
      steps: { type: 'string', default: '6' },
      device: { type: 'string' },
    },
  })
  ensureChromium()
  const folder = resolve(values.repo)
  const repo = `owner/${basename(folder)}`
  const server = await startHubServer({ repositories: { [repo]: folder } })
  await server.commit(repo)
  try {
    for (const device of ['wasm', 'webgpu'] as const) {
      if (values.device !== undefined && values.device !== device) continue
      console.log(`\n${basename(folder)}, ${values.size} × ${values.size}, ${device}`)
      console.log('| dtype | computes in | weights, kept | on the device at most | first load s | load from cache s | step s |')
      console.log('| --- | --- | ---: | ---: | ---: | ---: | ---: |')
      for (const dtype of dtypes) {
        const bench = await openBenchPage()
        try {
          const result = await bench.makeImage({
            endpoint: server.url,
            repo,
            device,
            dtype,
            offload: 'resident',
            maxMemory: undefined,
            size: Number(values.size),
            steps: Number(values.steps),
            images: 2,
            timeSteps: true,
          })
          const times = [result.loadSeconds, result.reloadSeconds, result.stepSeconds ?? Number.NaN].map((time) =>
            time.toFixed(2),
          )
          const bytes = [result.weightBytes, result.memory.peakWeights].map(formatBytes)
          console.log(`| ${[dtype, result.computes, ...bytes, ...times].join(' | ')} |`)
        } finally {
          await bench.close()
        }
      }
    }
  } finally {
    await server.close()
  }
}
