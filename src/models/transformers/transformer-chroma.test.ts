/** What the fixtures of Chroma do not show: the published sizes, streaming block by block, and refusals. */

import { expect, test } from 'vitest'
import { fixtures, readJson } from '../testing.node.js'
import type { Config } from '../../checkpoint/types.js'
import { ChromaTransformer2DModel } from './transformer-chroma.js'

const { config } = readJson(`${fixtures}weight-tables/chroma-transformer.json`) as unknown as { readonly config: Config }
const model = ChromaTransformer2DModel.fromConfig(config)
const options = { dtype: 'float16', weights: 'input', granularity: 'block' } as const

test('the 57 blocks of Chroma share two programs, and take 344 modulations', () => {
  const { stages, inputs } = model.write(model.shapes({ height: 128, width: 128 }), options)
  const programs = (prefix: string) => stages.filter(({ name }) => name.startsWith(prefix)).map(({ program }) => program.key)
  expect(programs('transformer_blocks.')).toHaveLength(19)
  expect(programs('single_transformer_blocks.')).toHaveLength(38)
  expect(new Set(programs('transformer_blocks.')).size).toBe(1)
  expect(new Set(programs('single_transformer_blocks.')).size).toBe(1)
  expect(inputs.find(({ name }) => name === 'timestep_proj')?.dims).toEqual([2, 344, 64])
})

test('the approximator takes the timestep, a guidance of 0 and the index of each modulation', () => {
  const { timestep_proj: input } = model.stepInputs([1000, 500])
  expect(input?.dims).toEqual([2, 344, 64])
  const row = (image: number, place: number) => {
    const begin = (image * 344 + place) * 64
    return [...(input?.data.subarray(begin, begin + 64) ?? [])]
  }
  // Cosines come first.
  expect(row(0, 0)[0]).toBeCloseTo(Math.cos(1000), 6)
  expect(row(1, 7)[8]).toBeCloseTo(Math.sin(500), 6)
  expect(row(1, 7).slice(16, 32)).toEqual([...Array<number>(8).fill(1), ...Array<number>(8).fill(0)])
  expect(row(1, 343)[32]).toBeCloseTo(Math.cos(343_000), 6)
  expect(row(0, 343).slice(32)).toEqual(row(1, 343).slice(32))
})

test.each([
  [{ approximator_num_channels: 62 }, 'invalid-config'],
  [{ approximator_layers: -1 }, 'invalid-config'],
  [{ axes_dims_rope: [16, 56, 54] }, 'invalid-config'],
  [{ patch_size: 2 }, 'unsupported-config'],
])('%j is refused', (change, code) => {
  expect(() => ChromaTransformer2DModel.fromConfig({ ...config, ...change })).toThrow(expect.objectContaining({ code }))
})

test('a prompt of another width is refused by the name of the key', () => {
  expect(model.promptMisfit({ hidden: 2048, pooled: null })).toEqual({ key: 'joint_attention_dim', value: 4096, allowed: 2048 })
})
