import { join } from 'node:path'
import { expect, test } from 'vitest'
import { DeviceError } from '../errors.js'
import { fixtures, readJson, readWeights } from '../models/testing.node.js'
import { openDevice } from '../runtime/open-device.js'
import { ComponentHost } from './component-host.js'
import { networkNeeds } from './memory-needs.js'
import type { Network } from './networks.js'
import { Run } from './run-hooks.js'

const folder = join(fixtures, 'tiny-sdxl/repo/vae')
const config = readJson(join(folder, 'config.json'))
const vae: Network = { name: 'vae', className: 'AutoencoderKL', config, table: readWeights(folder), repo: 'tiny-sdxl' }

async function host(options: { maxMemory?: number; vaeTiling?: boolean }): Promise<ComponentHost> {
  const device = await openDevice({ kind: 'wasm' })
  return new ComponentHost({
    device,
    dtype: 'float32',
    offload: 'model',
    maxMemory: options.maxMemory,
    vaeTiling: options.vaeTiling,
  })
}

/** The budget that a decode of latents of this edge just fits into. */
function needed(edge: number): number {
  const { blocks, activationBytes } = networkNeeds(vae, { latents: [1, 4, edge, edge] }, { dtype: 'float32' })
  return blocks.reduce((sum, { bytes }) => sum + bytes, activationBytes)
}

test('a decode is tiled where it would not fit as a whole, in the size that the autoencoder was made for', async () => {
  const dims = [1, 4, 48, 40]
  expect((await host({})).decodeTile(vae, dims)).toBeUndefined()
  expect((await host({ maxMemory: needed(48) })).decodeTile(vae, dims)).toBeUndefined()
  expect((await host({ maxMemory: needed(40) - 1 })).decodeTile(vae, dims)).toBe(8)
})

test('tiles are halved until they fit, but not below 32 latent pixels', async () => {
  const large = { ...vae, config: { ...config, sample_size: 1024 } }
  const dims = [1, 4, 160, 160]
  const tile = async (maxMemory: number) => (await host({ maxMemory })).decodeTile(large, dims)
  expect(await tile(needed(160))).toBeUndefined()
  expect(await tile(needed(160) - 1)).toBe(128)
  expect(await tile(needed(64))).toBe(64)
  expect(await tile(needed(32))).toBe(32)
  expect(await tile(1000)).toBe(32)
})

test('tiling can be asked for and refused', async () => {
  expect((await host({ vaeTiling: true })).decodeTile(vae, [1, 4, 16, 8])).toBe(8)
  expect((await host({ vaeTiling: true })).decodeTile(vae, [1, 4, 8, 8])).toBeUndefined()
  expect((await host({ vaeTiling: false, maxMemory: 1000 })).decodeTile(vae, [1, 4, 64, 64])).toBeUndefined()
})

test('without room a decode goes over to small tiles, then says what was tried; another network has none to go over to', async () => {
  const full = new DeviceError('out-of-memory', 'onnxruntime failed while running: std::bad_alloc.')
  const tried = async (network: Network, dims: readonly number[]) => {
    const own = await host({})
    const tiles: (number | undefined)[] = []
    const work = async () => {
      tiles.push(own.decodeTile(network, dims))
      throw full
    }
    await expect(own.recovering(network, new Run({}), work)).rejects.toMatchObject({
      code: 'out-of-memory',
      message: `${full.message} Components are loaded one at a time and the VAE is tiled where it can be: try a smaller size, a larger maxMemory or another device.`,
    })
    return tiles
  }
  const large = { ...vae, config: { ...config, sample_size: 1024 } }
  expect(await tried(large, [1, 4, 160, 160])).toEqual([undefined, 32])
  // Made for tiles that are smaller than that.
  expect(await tried(vae, [1, 4, 48, 40])).toEqual([undefined, 8])
  expect(await tried({ ...vae, className: 'UNet2DConditionModel' }, [1, 4, 160, 160])).toHaveLength(1)
})
