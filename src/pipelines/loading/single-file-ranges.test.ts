/** A load of a checkpoint in one file on a server downloads only the tensors that it needs, and a later load finds them without the server. */

import { join } from 'node:path'
import { afterEach, expect, it } from 'vitest'
import { readRepository } from '../../../e2e/fixture-repository.js'
import { startHubServer } from '../../../e2e/hub-server/server.js'
import type { HubServer } from '../../../e2e/hub-server/types.js'
import { singleFileOf } from '../../checkpoint/layouts/single-file/testing.node.js'
import { transformTable } from '../../checkpoint/transforms/transform-table.js'
import { MemoryStore } from '../../hub/cache/memory-store.js'
import { Hub } from '../../hub/hub.js'
import { planLoad } from '../diffusion-pipeline.js'
import { findPipeline, type OpenPipelineOptions } from './find-pipeline.js'
import { families } from '../families.js'
import { readParts } from './read-parts.js'
import { fixtures } from '../testing.node.js'

const settings = { chunkBytes: 32 << 10, pieceBytes: 32 << 10, retryBaseMs: 1, retryMaxMs: 2 }
/** An EMA copy of the weights, as in some training checkpoints. */
const ema = { name: 'model_ema.weights', dtype: 'F32', shape: [1 << 19], bytes: new Uint8Array(2 << 20) } as const
const file = await singleFileOf('tiny-sd15', [ema])
const path = 'mine.safetensors'
const configs = 'stable-diffusion-v1-5/stable-diffusion-v1-5'

/** The bytes that the server may send besides the needed tensors: the first 256 KiB twice (to recognize the file, and to choose its tensors), and bytes at the edges of chunks. */
const more = 2 * (256 << 10) + 6 * settings.chunkBytes

let server: HubServer | undefined
afterEach(async () => {
  await server?.close()
  server = undefined
})

async function start(): Promise<HubServer> {
  server = await startHubServer({
    repositories: { 'a/one': { [path]: file }, [configs]: readRepository(join(fixtures, 'tiny-sd15', 'repo')) },
  })
  return server
}

/** Bytes of the file that the server sent. */
const sent = ({ log }: HubServer) =>
  log.filter((entry) => entry.file === path && entry.kind === 'file').reduce((sum, { bytes }) => sum + bytes, 0)

/** Opens the weights of every network. Returns the bytes that their tensors take. */
async function read(source: string, options: OpenPipelineOptions): Promise<number> {
  return findPipeline(source, { device: 'wasm', ...options }, families, async ({ layout, spec, placing, run, open, close }) => {
    const { sources } = await readParts({ layout, spec, options, open, run })
    let bytes = 0
    for (const { files, model } of sources) {
      const weights = await files.chooseWeights({ library: model.library, missingVariant: 'fallback' })
      for (const { source: tensor, begin, end } of transformTable(await weights.read(), weights.transforms).values())
        bytes += (await tensor.read({ begin, end })).byteLength
    }
    for (const device of placing.devices.values()) await device.dispose()
    close()
    return bytes
  })
}

it.each(['Hub', 'any other host'])('leaves out a second copy of the weights: %s', async (host) => {
  const started = await start()
  const store = new MemoryStore()
  const options = { endpoint: started.url, hub: await Hub.open({ store, settings }) }
  const source = host === 'Hub' ? `${started.url}/a/one/blob/main/${path}` : `${started.staticUrl('a/one')}${path}`
  const plan = await planLoad(source, { device: 'wasm', ...options })
  expect(plan.downloadBytes).toBeLessThan(file.byteLength - ema.bytes.byteLength + 2 * settings.chunkBytes)
  started.clearLog()
  const needed = await read(source, options)
  expect(needed).toBeGreaterThan(200_000)
  expect(sent(started)).toBeGreaterThanOrEqual(needed)
  expect(sent(started)).toBeLessThan(needed + more)
  started.dropConnections()
  await started.close()
  expect(await read(source, { ...options, hub: await Hub.open({ store, settings }) })).toBe(needed)
})

it('leaves out components that the caller replaces', async () => {
  const started = await start()
  const hub = await Hub.open({ store: new MemoryStore(), settings })
  const source = `${started.url}/a/one/blob/main/${path}`
  const options = { endpoint: started.url, hub }
  const whole = (await planLoad(source, { device: 'wasm', ...options })).downloadBytes
  // The UNet comes from the repository with the configs. The other networks come from the file.
  const components = { unet: { repo: configs, subfolder: 'unet' } }
  const replaced = await planLoad(source, { device: 'wasm', ...options, components })
  started.clearLog()
  await read(source, { ...options, components })
  expect(replaced.components['unet']?.repo).toBe(configs)
  expect(sent(started)).toBeLessThan(whole - (replaced.components['unet']?.bytes ?? 0) + more)
})
