/** Random configs and sizes: each gives a graph or an error with a code, quickly. */

import { expect, test } from 'vitest'
import type { Config } from '../checkpoint/types.js'
import { AquatintError } from '../errors.js'
import type { ComponentGraph, WriteOptions } from '../onnx/types.js'
import { AutoencoderKL } from './autoencoders/autoencoder-kl.js'
import { AutoencoderKLFlux2 } from './autoencoders/autoencoder-kl-flux2.js'
import { AutoencoderTiny } from './autoencoders/autoencoder-tiny.js'
import { CLIPTextModelWithProjection } from './text-encoders/clip-text-model.js'
import { Qwen3ForCausalLM } from './text-encoders/qwen3-model.js'
import { T5EncoderModel } from './text-encoders/t5-encoder-model.js'
import { ChromaTransformer2DModel } from './transformers/transformer-chroma.js'
import { Flux2Transformer2DModel } from './transformers/transformer-flux2.js'
import { FluxTransformer2DModel } from './transformers/transformer-flux.js'
import { SD3Transformer2DModel } from './transformers/transformer-sd3.js'
import { ZImageTransformer2DModel } from './transformers/transformer-z-image.js'
import { fixtures, readJson } from './testing.node.js'
import { graphFor } from './testing.js'
import type { DenoiserDefinition } from './types.js'
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
  ['tiny-sdxl/repo/unet', denoiser(UNet2DConditionModel)],
  ['networks/repo/unet_asymmetric', denoiser(UNet2DConditionModel)],
  ['networks/repo/unet_unusual', denoiser(UNet2DConditionModel)],
  ['tiny-sd15/repo/vae', (config, size, options) => graphFor(AutoencoderKL, config, size, options)],
  ['networks/repo/vae_plain', (config, size, options) => graphFor(AutoencoderKL, config, size, options, { part: 'encoder' })],
  ['tiny-sd3/repo/text_encoder_3', (config, size, options) => graphFor(T5EncoderModel, config, size, options)],
  ['tiny-sd35/repo/transformer', sd3WithPositions],
  ['tiny-flux/repo/transformer', denoiser(FluxTransformer2DModel)],
  ['tiny-chroma/repo/transformer', denoiser(ChromaTransformer2DModel)],
  ['tiny-flux2-klein/repo/transformer', denoiser(Flux2Transformer2DModel)],
  ['tiny-flux2-klein/repo/text_encoder', (config, size, options) => graphFor(Qwen3ForCausalLM, config, size, options)],
  ['tiny-flux2-klein/repo/vae', (config, size, options) => graphFor(AutoencoderKLFlux2, config, size, options)],
  ['tiny-z-image/repo/transformer', denoiser(ZImageTransformer2DModel)],
  ['few-steps/tiny-vae/repo/vae', (config, size, options) => graphFor(AutoencoderTiny, config, size, options)],
]

/** Writes the graph of a denoiser, and computes the inputs of a step. */
function denoiser(definition: DenoiserDefinition): Writer {
  return (config, size, options) => {
    const graph = graphFor(definition, config, size, options)
    definition.fromConfig(config).stepInputs([1])
    return graph
  }
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

/** Keys of other classes and versions, such as a config written by hand may have. */
const otherKeys = [
  '_use_default_values',
  'text_config',
  'torch_dtype',
  'quantization_config',
  'rope_parameters',
  'hidden_act',
  'act_fn',
]

test.each(networks)('random configs of %s give a graph, or an error with a code', (path, write) => {
  const config = readJson(`${fixtures}${path}/config.json`)
  const next = random(path.length * 7919)
  const pick = <Value>(values: readonly Value[]) => values[Math.floor(next() * values.length)] as Value
  const size = () => pick([1, 2, 3, 4, 5, 7, 8, 9, 12, 16, 24, 33])
  const counts = { written: 0, refused: 0 }
  for (let round = 0; round < 150; round++) {
    const changed: Record<string, unknown> = { ...config }
    for (let change = Math.floor(next() * 3); change > 0; change--) changed[pick(Object.keys(config))] = pick(strangeValues)
    if (next() < 0.1) changed[pick(otherKeys)] = pick(strangeValues)
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
  expect(counts.written).toBeGreaterThan(10)
  expect(counts.refused).toBeGreaterThan(10)
})
