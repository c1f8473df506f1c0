/**
 * `node scripts/run.mjs bench/full-size-pipeline.ts [--offload MODE] [--max-memory SIZE] [--size PIXELS] [--steps N]`
 *
 * Runs Stable Diffusion 1.5 at its real dimensions as a pipeline: text encoder, UNet and VAE with random float16 weights, downloaded from
 * the Hub look-alike through the cache, and one image through the public API in headless Chromium. Reports the bytes of GPU buffers and the
 * memory of the browser's processes. Takes minutes and 2 GB of disk; it is not part of `npm test`.
 */

import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { readRepository } from '../e2e/fixture-repository.js'
import { startHubServer } from '../e2e/hub-server/server.js'
import { ensureChromium } from '../scripts/chromium.mjs'
import { networkDefinition } from '../src/models/registry.js'
import type { OffloadMode } from '../src/pipelines/types.js'
import { parseMemorySize } from '../src/memory/budget.js'
import { formatBytes } from '../src/util/format-bytes.js'
import { openBenchPage } from './memory/browser.js'
import { printMemory } from './memory/full-size-network.js'
import { publishedModel } from './memory/weight-tables.js'
import { virtualCheckpoint } from './quantize/virtual-checkpoint.js'

const id = 'owner/sd15'
const components = { text_encoder: 'sd15-text-encoder', unet: 'sd15-unet', vae: 'sd15-vae' } as const

/** Runs the benchmark. Returns 1 if the GPU buffers exceeded the budget. */
export async function main(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      offload: { type: 'string', default: 'model' },
      'max-memory': { type: 'string' },
      size: { type: 'string', default: '64' },
      steps: { type: 'string', default: '1' },
    },
  })
  ensureChromium()
  const budget = values['max-memory']
  const server = await startHubServer({ repositories: { [id]: repository() } })
  const bench = await openBenchPage()
  try {
    await server.commit(id)
    const request = {
      endpoint: server.url,
      repo: id,
      device: 'webgpu',
      offload: values.offload as OffloadMode,
      maxMemory: budget === undefined ? undefined : parseMemorySize(budget, '--max-memory'),
      size: Number(values.size),
      steps: Number(values.steps),
      images: 1,
    } as const
    const result = await bench.makeImage(request)
    const { memory } = result
    console.log(
      `SD 1.5, ${request.size} × ${request.size}, ${request.steps} step, offload ${values.offload}, budget ${budget ?? 'none'}`,
    )
    console.log(
      `device ${result.device}, computing in ${result.computes}; ${formatBytes(result.weightBytes)} of weights in the cache`,
    )
    const times = [result.loadSeconds, result.reloadSeconds, ...result.imageSeconds].map((time) => time.toFixed(1))
    console.log(`first load ${times[0]} s, load from cache ${times[1]} s, image ${times[2]} s`)
    for (const warning of result.warnings) console.log(`warning: ${warning}`)
    printMemory(memory, bench.peaks())
    return request.maxMemory !== undefined && memory.peak > request.maxMemory ? 1 : 0
  } finally {
    await bench.close()
    await server.close()
  }
}

/** A repository with configs and weights of the published sizes, and the tiny fixture's small files (model_index.json, scheduler, tokenizer). */
function repository() {
  const folder = fileURLToPath(new URL('../fixtures/tiny-sd15/repo', import.meta.url))
  const small = Object.entries(readRepository(folder)).filter(([path]) => !Object.hasOwn(components, path.split('/')[0] ?? ''))
  const networks = Object.entries(components).flatMap(([component, table]) => {
    const { _class_name: className, config, tensors } = publishedModel(table)
    const base = networkDefinition(className).library === 'transformers' ? 'model' : 'diffusion_pytorch_model'
    const files = { 'config.json': JSON.stringify(config), ...virtualCheckpoint(Object.entries(tensors), 2e9, base) }
    return Object.entries(files).map(([name, file]) => [`${component}/${name}`, file] as const)
  })
  return Object.fromEntries([...small, ...networks])
}
