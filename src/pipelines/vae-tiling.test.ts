import { join } from 'node:path'
import { expect, test } from 'vitest'
import { matchWeights } from '../models/match-weights.js'
import { fixtures, plain, readJson, readSafetensors, readWeights, runGraph } from '../models/testing.node.js'
import { writeGraph } from './networks.js'
import type { PlainTensor } from './types.js'
import { autoencoderKLTile, decodeTiled, type LatentBox } from './vae-tiling.js'

const folder = join(fixtures, 'tiny-sdxl/repo/vae')

test("tiles are decoded and blended as by diffusers' AutoencoderKL", async () => {
  const reference = readSafetensors(join(fixtures, 'vae-tiling/reference.safetensors'))
  const config = readJson(join(folder, 'config.json'))
  const table = readWeights(folder)
  const latents = plain(reference.get('latents')!)
  const [, , rows = 0, columns = 0] = latents.dims
  const decode = async ({ top, left, height, width }: LatentBox): Promise<PlainTensor> => {
    const data = latents.data.filter((_, i) => {
      const [row, column] = [Math.floor(i / columns) % rows, i % columns]
      return row >= top && row < top + height && column >= left && column < left + width
    })
    const dims = [1, data.length / (height * width), height, width]
    const options = { dtype: 'float32', weights: 'initializer', granularity: 'component' } as const
    const [graph] = matchWeights('AutoencoderKL', [writeGraph('AutoencoderKL', config, { latents: dims }, options)], table).graphs
    const outputs = await runGraph(graph!, table, { latents: { dims, data } })
    return outputs['sample']!
  }
  const expected = plain(reference.get('sample')!)
  const actual = await decodeTiled({ height: rows, width: columns }, autoencoderKLTile(config), 8, decode)
  expect(actual.dims).toEqual(expected.dims)
  const largest = expected.data.reduce((most, value) => Math.max(most, Math.abs(value)), 0)
  const worst = expected.data.reduce((most, value, i) => Math.max(most, Math.abs(value - actual.data[i]!)), 0)
  expect(worst / largest).toBeLessThan(1e-4)
})

const flat = async ({ height, width }: LatentBox): Promise<PlainTensor> => ({
  dims: [1, 1, height * 2, width * 2],
  data: new Float32Array(height * width * 4).fill(0.5),
})

test('a decoder that gives the same everywhere leaves no seam', async () => {
  for (const [height, width] of [
    [8, 8],
    [9, 20],
    [24, 7],
  ] as const) {
    const { dims, data } = await decodeTiled({ height, width }, 8, 2, flat)
    expect(dims).toEqual([1, 1, 2 * height, 2 * width])
    expect(new Set(data)).toEqual(new Set([0.5]))
  }
})

test('the tile is what the autoencoder was made for', () => {
  const config = readJson(join(folder, 'config.json'))
  expect(autoencoderKLTile({ ...config, sample_size: 512 })).toBe(64)
  expect(autoencoderKLTile({ ...config, sample_size: [1024, 1024] })).toBe(128)
})
