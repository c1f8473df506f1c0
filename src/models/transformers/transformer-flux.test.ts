/** What the fixtures of FLUX.1 do not show: the published sizes, streaming block by block, and refusals. */

import { expect, test } from 'vitest'
import { fixtures, readJson } from '../testing.node.js'
import type { Config } from '../../checkpoint/types.js'
import { FluxTransformer2DModel } from './transformer-flux.js'

const { config } = readJson(`${fixtures}weight-tables/flux-dev-transformer.json`) as unknown as { readonly config: Config }
const model = FluxTransformer2DModel.fromConfig(config)
const options = { dtype: 'float16', weights: 'input', granularity: 'block' } as const

test('the 57 blocks of FLUX.1 dev share two programs', () => {
  const { stages } = model.write(model.shapes({ height: 128, width: 128 }), options)
  const programs = (prefix: string) => stages.filter(({ name }) => name.startsWith(prefix)).map(({ program }) => program.key)
  expect(programs('transformer_blocks.')).toHaveLength(19)
  expect(programs('single_transformer_blocks.')).toHaveLength(38)
  expect(new Set(programs('transformer_blocks.')).size).toBe(1)
  expect(new Set(programs('single_transformer_blocks.')).size).toBe(1)
})

test('positions are 0 for the prompt, and row and column for each square of 2 × 2 latent pixels', () => {
  const { rotary_cos: cos, rotary_sin: sin } = model.positionInputs?.({ height: 4, width: 6, sequenceLength: 2 }) ?? {}
  expect(cos?.dims).toEqual([2 + 6, 64])
  const row = (token: number) => [...(sin?.data.subarray(token * 64, token * 64 + 64) ?? [])]
  expect(row(0)).toEqual(Array<number>(64).fill(0))
  // The last token is at row 1, column 2. The first axis turns 8 pairs, the others 28 each.
  expect(row(7)[0]).toBe(0)
  expect(row(7)[8]).toBeCloseTo(Math.sin(1), 6)
  expect(row(7)[36]).toBeCloseTo(Math.sin(2), 6)
})

test.each([
  [{ height: 3, width: 4 }, 'height is 3; allowed: even numbers of latent pixels'],
  [{ height: 4, width: 4098 }, 'width is 4098; allowed: a whole number from 1 to 2048'],
])('latents of %j are refused', (size, message) => {
  expect(() => model.write(model.shapes(size), options)).toThrow(expect.objectContaining({ code: 'invalid-shape', message }))
})

test.each([
  [{ axes_dims_rope: [16, 56, 54] }, 'invalid-config'],
  [{ axes_dims_rope: [15, 57, 56] }, 'invalid-config'],
  [{ in_channels: 66 }, 'invalid-config'],
  [{ patch_size: 2 }, 'unsupported-config'],
])('%j is refused', (change, code) => {
  expect(() => FluxTransformer2DModel.fromConfig({ ...config, ...change })).toThrow(expect.objectContaining({ code }))
})
