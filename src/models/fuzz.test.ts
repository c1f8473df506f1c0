/** Random configs and sizes: each gives a graph or an error with a code, quickly. */

import { expect, test } from 'vitest'
import type { Config } from '../checkpoint/types.js'
import { AquatintError } from '../errors.js'
import type { ComponentGraph, WriteOptions } from '../onnx/types.js'
import { AutoencoderKL } from './autoencoders/autoencoder-kl.js'
import { CLIPTextModelWithProjection } from './text-encoders/clip-text-model.js'
import { SD3Transformer2DModel } from './transformers/transformer-sd3.js'
import { T5EncoderModel } from './text-encoders/t5-encoder-model.js'
import { fixtures, readJson } from './testing.node.js'
import { graphFor } from './testing.js'
import { UNet2DConditionModel } from './unets/unet-2d-condition.js'

interface Size {
  readonly batch: number
  readonly height: number
  readonly width: number
  readonly sequenceLength: number
}

type Writer = (config: Config, size: Size, options: WriteOptions) => ComponentGraph

const networks: readonly (readonly [string, Writer])[] = [
  ['tiny-sdxl/repo/text_encoder_2', (config, size, options) => graphFor(CLIPTextModelWithProjection, config, size, options)],
  ['tiny-sdxl/repo/unet', unetWithTimes],
  ['networks/repo/unet_asymmetric', unetWithTimes],
  ['networks/repo/unet_unusual', unetWithTimes],
  ['tiny-sd15/repo/vae', (config, size, options) => graphFor(AutoencoderKL, config, size, options)],
  ['networks/repo/vae_plain', (config, size, options) => graphFor(AutoencoderKL, config, size, options, { part: 'encoder' })],
  ['tiny-sd3/repo/text_encoder_3', (config, size, options) => graphFor(T5EncoderModel, config, size, options)],
  ['tiny-sd35/repo/transformer', sd3WithPositions],
]

function unetWithTimes(config: Config, size: Size, options: WriteOptions): ComponentGraph {
  const graph = graphFor(UNet2DConditionModel, config, size, options)
  UNet2DConditionModel.fromConfig(config).stepInputs([1])
  return graph
}

function sd3WithPositions(config: Config, size: Size, options: WriteOptions): ComponentGraph {
  const graph = graphFor(SD3Transformer2DModel, config, size, options)
  SD3Transformer2DModel.fromConfig(config).tableInputs(size)
  return graph
}

/** Mulberry32: numbers in 0…1 from a seed. */
function random(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let value = Math.imul(state ^ (state >>> 15), 1 | state)
    value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value
    return ((value ^ (value >>> 14)) >>> 0) / 2 ** 32
  }
}

const strangeValues: readonly unknown[] = [
  null,
  undefined,
  true,
  false,
  0,
  1,
  2,
  3,
  4,
  7,
  8,
  16,
  31,
  32,
  64,
  -1,
  0.5,
  1e-5,
  1e9,
  2 ** 53,
  Number.NaN,
  Infinity,
  '',
  'silu',
  'default',
  '__proto__',
  [],
  [1],
  [2, 1],
  [1, 2, 3],
  [[1], [2]],
  [[1, 1], 2, 1],
  [null],
  ['DownBlock2D'],
  ['DownBlock2D', 'CrossAttnDownBlock2D'],
  {},
  { a: 1 },
]

test.each(networks)('%s', (path, write) => {
  const config = readJson(`${fixtures}${path}/config.json`)
  const next = random(path.length * 7919)
  const pick = <Value>(values: readonly Value[]) => values[Math.floor(next() * values.length)] as Value
  const size = () => pick([1, 2, 3, 4, 5, 7, 8, 9, 12, 16, 24, 33])
  const counts = { written: 0, refused: 0 }
  for (let round = 0; round < 200; round++) {
    const changed: Record<string, unknown> = { ...config }
    for (let change = Math.floor(next() * 3); change > 0; change--) changed[pick(Object.keys(config))] = pick(strangeValues)
    if (next() < 0.1) delete changed[pick(Object.keys(config))]
    const shape = { batch: pick([1, 2, 3]), height: size(), width: size(), sequenceLength: pick([1, 5, 20, 77, 150]) }
    const options = {
      dtype: pick(['float32', 'float16'] as const),
      weights: 'input',
      granularity: pick(['component', 'block'] as const),
    } as const
    try {
      const graph = write(changed, shape, options)
      expect(
        graph.stages.every(({ program }) =>
          program.inputs.concat(program.weights, program.outputs).every(({ dims }) => dims.every((dim) => dim >= 1)),
        ),
      ).toBe(true)
      counts.written++
    } catch (error) {
      if (!(error instanceof AquatintError))
        throw new Error(`${JSON.stringify(changed)} ${JSON.stringify(shape)}`, { cause: error })
      counts.refused++
    }
  }
  expect(counts.written).toBeGreaterThan(20)
  expect(counts.refused).toBeGreaterThan(20)
})
