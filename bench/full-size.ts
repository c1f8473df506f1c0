/**
 * `npm run bench:full-size [-- --model sdxl|sd15] [--max-memory SIZE] [--latent N] [--runs N] [--folder DIR]`
 *
 * A published denoiser at its real dimensions, with random float16 weights made on the spot in sharded safetensors, downloaded from the
 * Hub look-alike through the cache and run in headless Chromium under a budget. Reports GPU bytes by the account, planned and
 * measured, and what the browser's processes took. Minutes of time, gigabytes of disk; no part of `npm test`.
 */

import { createWriteStream } from 'node:fs'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { once } from 'node:events'
import { parseArgs } from 'node:util'
import { startHubServer } from '../e2e/hub-server/server.js'
import { ensureChromium } from '../scripts/chromium.mjs'
import { parseMemorySize } from '../src/runtime/memory-size.js'
import { formatBytes } from '../src/util/format-bytes.js'
import { float32ToFloat16 } from '../src/util/half.js'
import { openBenchPage } from './memory/browser.js'
import { publishedModel } from './memory/weight-tables.js'

const models = {
  sdxl: { table: 'sdxl-unet', sequenceLength: 77 },
  sd15: { table: 'sd15-unet', sequenceLength: 77 },
} as const
const shardBytes = 2e9

export async function main(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      model: { type: 'string', default: 'sdxl' },
      'max-memory': { type: 'string' },
      latent: { type: 'string', default: '8' },
      runs: { type: 'string', default: '2' },
      folder: { type: 'string' },
    },
  })
  const model = values.model === 'sd15' ? models.sd15 : models.sdxl
  const published = publishedModel(model.table)
  ensureChromium()
  const folder = values.folder ?? (await mkdtemp(join(tmpdir(), 'aquatint-full-size-')))
  const began = performance.now()
  const bytes = await writeCheckpoint(join(folder, 'unet'), published)
  console.log(`${model.table}: ${formatBytes(bytes)} of random weights written in ${seconds(began)} s`)
  const server = await startHubServer({ repositories: { 'owner/full-size': folder } })
  const bench = await openBenchPage()
  try {
    await server.commit('owner/full-size')
    const edge = Number(values.latent)
    const channels = Number(published.config['in_channels'])
    const width = Number(published.config['cross_attention_dim'])
    const request = {
      endpoint: server.url,
      repo: 'owner/full-size',
      name: 'unet',
      className: published._class_name,
      config: published.config,
      shapes: { sample: [1, channels, edge, edge], encoder_hidden_states: [1, model.sequenceLength, width] },
      maxMemory: values['max-memory'] === undefined ? undefined : parseMemorySize(values['max-memory'], '--max-memory'),
      runs: Number(values.runs),
    }
    const result = await bench.page.evaluate((given) => {
      if (window.runNetwork === undefined) throw new Error('The page has no runNetwork')
      return window.runNetwork(given)
    }, request)
    const { memory } = result
    console.log(`device ${result.device}, latents ${edge} × ${edge}, budget ${values['max-memory'] ?? 'none'}`)
    console.log(
      `download and cache: ${result.downloadSeconds.toFixed(1)} s; runs: ${result.runSeconds.map((run) => run.toFixed(1)).join(', ')} s`,
    )
    console.log(
      `GPU buffers: planned at most ${formatBytes(result.plannedPeak)}, measured ${formatBytes(memory.peak)} (weights ${formatBytes(memory.peakWeights)})`,
    )
    for (const [kind, peak] of Object.entries(bench.peaks()))
      console.log(`${kind} process: at most ${formatBytes(peak)} resident`)
    console.log(`largest output value ${result.largest}`)
    return memory.peak <= result.plannedPeak ? 0 : 1
  } finally {
    await bench.close()
    await server.close()
    if (values.folder === undefined) await rm(folder, { recursive: true, force: true })
  }
}

function seconds(since: number): string {
  return ((performance.now() - since) / 1000).toFixed(1)
}

/** Writes a config, shards of float16 tensors and their index. Returns the bytes of all weights. */
async function writeCheckpoint(folder: string, { config, tensors }: ReturnType<typeof publishedModel>): Promise<number> {
  await mkdir(folder, { recursive: true })
  await writeFile(join(folder, 'config.json'), JSON.stringify(config))
  const shards: [string, readonly number[]][][] = [[]]
  let inShard = 0
  for (const entry of Object.entries(tensors)) {
    const size = bytesOf(entry[1])
    if (inShard + size > shardBytes && inShard > 0) {
      shards.push([])
      inShard = 0
    }
    inShard += size
    shards.at(-1)?.push(entry)
  }
  const pool = randomHalves()
  const weightMap: Record<string, string> = {}
  let total = 0
  for (const [index, entries] of shards.entries()) {
    const name = `diffusion_pytorch_model-${String(index + 1).padStart(5, '0')}-of-${String(shards.length).padStart(5, '0')}.safetensors`
    for (const [tensor] of entries) weightMap[tensor] = name
    total += await writeShard(join(folder, name), entries, pool)
  }
  const json = { metadata: { total_size: total }, weight_map: weightMap }
  await writeFile(join(folder, 'diffusion_pytorch_model.safetensors.index.json'), JSON.stringify(json))
  return total
}

function bytesOf(shape: readonly number[]): number {
  return shape.reduce((count, dim) => count * dim, 2)
}

async function writeShard(
  path: string,
  entries: readonly (readonly [string, readonly number[]])[],
  pool: Uint8Array,
): Promise<number> {
  const header: Record<string, object> = {}
  let at = 0
  for (const [name, shape] of entries) {
    const end = at + bytesOf(shape)
    header[name] = { dtype: 'F16', shape, data_offsets: [at, end] }
    at = end
  }
  const text = new TextEncoder().encode(JSON.stringify(header))
  const padded = new Uint8Array(Math.ceil(text.byteLength / 8) * 8).fill(0x20)
  padded.set(text)
  const length = new Uint8Array(8)
  new DataView(length.buffer).setBigUint64(0, BigInt(padded.byteLength), true)
  const file = createWriteStream(path)
  const write = async (bytes: Uint8Array) => {
    if (!file.write(bytes)) await once(file, 'drain')
  }
  await write(length)
  await write(padded)
  for (let left = at; left > 0; left -= pool.byteLength) await write(left < pool.byteLength ? pool.subarray(0, left) : pool)
  file.end()
  await once(file, 'close')
  return at
}

/** 32 MiB and a bit of numbers around 0 with deviation 0.02, so that tensors do not repeat each other at even steps. */
function randomHalves(): Uint8Array {
  const values = new Float32Array(2 ** 24 + 1021)
  let state = 1
  const uniform = () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return (state + 0.5) / 2 ** 32
  }
  for (let i = 0; i < values.length; i++)
    values[i] = 0.02 * Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform())
  return new Uint8Array(float32ToFloat16(values).buffer)
}
