/** Tests how a ComponentHost plans generations, and which tiles an autoencoder uses when memory is scarce. */
import { AutoencoderKL } from '../../models/autoencoders/autoencoder-kl.js'
import type { AutoencoderModel } from '../../models/types.js'
import { UNet2DConditionModel } from '../../models/unets/unet-2d-condition.js'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { DeviceError } from '../../errors.js'
import { fixtures, readJson, readWeights } from '../../models/testing.node.js'
import { openDevice } from '../../runtime/open-device.js'
import { ComponentHost, type HostOptions } from './component-host.js'
import type { VaePart } from './host-plan.js'
import { failuresOf, Recovery } from './recovery.js'
import { autoencoderNeeds, networkNeeds } from '../planning/memory-needs.js'
import type { Network } from '../bind-network.js'
import { Run } from '../run.js'

const folder = join(fixtures, 'tiny-sdxl/repo/vae')
const config = readJson(join(folder, 'config.json'))
const vae: Network<AutoencoderModel> = {
  name: 'vae',
  model: AutoencoderKL.fromConfig(config),
  table: readWeights(folder),
  repo: 'tiny-sdxl',
}
const networks = new Map([['vae', vae]])

async function host(options: Partial<HostOptions> = {}): Promise<ComponentHost> {
  const device = await openDevice({ kind: 'wasm' })
  return new ComponentHost({ device, dtype: 'float32', offload: 'model', ...options })
}

test('a generation is prepared with the tiles of its plan', async () => {
  const size = { height: 48, width: 40 }
  const { blocks, ways } = autoencoderNeeds(vae, size, { dtype: 'float32' }, undefined)
  const weights = blocks.reduce((sum, { bytes }) => sum + bytes, 0)
  const tile = async (maxMemory: number | undefined, vaeTiling?: boolean) => {
    const made = await host({ budget: { target: maxMemory }, vaeTiling })
    await made.fit(networks, () => true, size, new Run({}))
    return made.vaeTile(vae, size, 'decoder')
  }
  expect(await tile(undefined)).toBeUndefined()
  expect(await tile(weights + ways[0]!.activationBytes)).toBeUndefined()
  expect(await tile(weights + ways[0]!.activationBytes - 1)).toBe(32)
  expect(await tile(1000)).toBe(32)
  expect(await tile(undefined, true)).toBe(8)
  expect(await tile(1000, false)).toBeUndefined()
})

test('weights on the CPU stay for a shorter time if the weights of the encoder for a start image do not fit beside them', async () => {
  const size = { height: 8, width: 8 }
  const bytes = (part?: 'encoder') =>
    autoencoderNeeds(vae, size, { dtype: 'float32' }, undefined, part).blocks.reduce((sum, block) => sum + block.bytes, 0)
  const unetFolder = join(fixtures, 'tiny-sdxl/repo/unet')
  const model = UNet2DConditionModel.fromConfig(readJson(join(unetFolder, 'config.json')))
  const unet: Network = { name: 'unet', model, table: readWeights(unetFolder), repo: 'tiny-sdxl' }
  const { blocks } = networkNeeds(unet, model.shapes(size), { dtype: 'float32' })
  const unetBytes = blocks.reduce((sum, block) => sum + block.bytes, 0)
  const both = new Map<string, Network>([
    ['unet', unet],
    ['vae', vae],
  ])
  const made = await host({ offload: 'resident', budget: { limit: unetBytes + bytes() } })
  const run = new Run({})
  await made.fit(both, () => true, size, run)
  expect([made.offload, run.warnings]).toEqual(['resident', []])
  await made.fit(both, () => true, { ...size, fromImage: true }, run)
  expect(made.offload).toBe('model')
  expect(run.warnings).toEqual([
    expect.stringMatching(/do not fit in .* with offload resident; these are made with offload model/),
  ])
  expect(bytes('encoder')).toBeGreaterThan(0)
})

test('the largest tiles that fit are used, which are those of the plan', async () => {
  const large = { ...vae, model: AutoencoderKL.fromConfig({ ...config, sample_size: 1024 }) }
  const size = { height: 160, width: 136 }
  const { blocks, ways } = autoencoderNeeds(large, size, { dtype: 'float32', sumsInParts: true }, undefined)
  const weights = blocks.reduce((sum, { bytes }) => sum + bytes, 0)
  expect(ways.map(({ tile }) => tile)).toEqual([undefined, 128, 64, 32])
  for (const { tile, activationBytes } of ways) {
    const made = await host({ budget: { target: weights + activationBytes } })
    await made.fit(new Map([['vae', large]]), () => true, size, new Run({}))
    expect(made.vaeTile(large, size, 'decoder')).toBe(tile)
  }
})

const full = new DeviceError('out-of-memory', 'onnxruntime failed while running: std::bad_alloc.')
const runOut = async () => Promise.reject(full)

/** Runs the autoencoder's `work`, and repeats it after a failure from which the host can recover. */
async function retrying(made: ComponentHost, work: () => Promise<void>, part?: VaePart): Promise<void> {
  return new Recovery().retrying(new Run({}), () => failuresOf({ host: made, network: vae, part }, work))
}

test('after running out of memory, only the half of the autoencoder that failed uses the smallest tiles', async () => {
  const size = { height: 48, width: 40 }
  const made = await host()
  const halves = () => (['encoder', 'decoder'] as const).map((half) => made.vaeTile(vae, size, half))
  const fails = async (part?: VaePart) => {
    await expect(retrying(made, runOut, part)).rejects.toMatchObject({ code: 'out-of-memory' })
    return halves()
  }
  expect(await fails()).toEqual([undefined, undefined])
  expect(await fails('encoder')).toEqual([32, undefined])
  expect(await fails('decoder')).toEqual([32, 32])
})

test.each([
  ['an autoencoder switches to small tiles', 'decoder', [undefined, 32]],
  ['another network has no tiles to switch to', undefined, [undefined]],
] as const)('when memory runs out, %s; then the error names what was tried', async (_, part, expected) => {
  const own = await host()
  const tiles: (number | undefined)[] = []
  const work = async () => {
    tiles.push(own.vaeTile(vae, { height: 160, width: 160 }, 'decoder'))
    throw full
  }
  await expect(retrying(own, work, part)).rejects.toMatchObject({
    code: 'out-of-memory',
    message: `${full.message} Components are loaded one at a time and the VAE is tiled where it can be: try a smaller size, a larger maxMemory or another device.`,
  })
  expect(tiles).toEqual(expected)
})
