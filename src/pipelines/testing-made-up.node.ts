/** A made-up pipeline class for tests: one network definition and one family definition, and a repository of it. Not part of the library. */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { float32File } from '../checkpoint/testing.js'
import { AutoencoderKL } from '../models/autoencoders/autoencoder-kl.js'
import { ConfigReader } from '../models/config-reader.js'
import { conv2d, linear, toCompute, toFloat32 } from '../models/layers/layers.js'
import { CLIPTextModel } from '../models/text-encoders/clip-text-model.js'
import { currentNames, type DenoiserDefinition } from '../models/types.js'
import { ComponentBuilder } from '../onnx/component-builder.js'
import { add } from '../onnx/ops-math.js'
import { reshape, slice } from '../onnx/ops-shape.js'
import { elementCount } from '../util/element-count.js'
import { CLIPTokenizer } from '../tokenizers/clip-tokenizer.js'
import { scaledLatents } from './images/latent-scaling.js'
import { textEncoderOf } from './prompts/text-encoders.js'
import type { PipelineFamily } from './generation/pipeline-family.js'
import { assembleBatch, sideBySide } from './prompts/prompt-embeds.js'
import { diskRepository, fixtures } from './testing.node.js'
import { numbers } from '../runtime/testing.js'

const facts = {
  className: 'MadeUpTransformer2DModel',
  library: 'diffusers',
  role: 'denoiser',
  weights: { ...currentNames, unused: [] },
  quantizable: true,
} as const

/** The class name of the made-up denoiser. */
export const madeUpDenoiser = facts.className

/** Predicts each latent pixel as weighted sums of the pixel's channels, the first token's embedding and the timestep. */
const MadeUpTransformer2DModel: DenoiserDefinition<{ readonly channels: number; readonly contextWidth: number }> = {
  ...facts,
  fromConfig: (given) => {
    const reader = new ConfigReader(facts.className, given)
    const channels = reader.integer('in_channels', 4, { min: 1, max: 64 })
    const contextWidth = reader.integer('cross_attention_dim', 32, { min: 1, max: 4096 })
    return {
      ...facts,
      config: { channels, contextWidth },
      ignoredKeys: reader.finish(),
      smallest: { height: 2, width: 2 },
      shapes: ({ height, width, images = 1, guided = true }) => {
        const batch = images * (guided ? 2 : 1)
        return { latents: [batch, channels, height, width], encoder_hidden_states: [batch, 77, contextWidth] }
      },
      write: (shapes, options) => {
        const { latents: dims = [], encoder_hidden_states: context = [] } = shapes
        const [batch = 0] = dims
        const component = new ComponentBuilder(facts.className, options)
        const inputs = {
          latents: component.input('latents', 'float32', dims),
          context: component.input('encoder_hidden_states', 'float32', context),
          time: component.input('time', 'float32', [batch, 1]),
        }
        const { sample } = component.stage(
          'all',
          inputs,
          (graph, { latents, context: tokens, time }) => {
            const first = reshape(graph, slice(graph, toCompute(graph, tokens), 1, 0, 1), [batch, contextWidth])
            const shift = add(
              graph,
              linear(graph, first, 'context', channels),
              linear(graph, toCompute(graph, time), 'time', channels),
            )
            const own = conv2d(graph, toCompute(graph, latents), 'pixel', channels, 1)
            return { sample: toFloat32(graph, add(graph, own, reshape(graph, shift, [batch, channels, 1, 1]))) }
          },
          '',
        )
        component.output('out_sample', sample)
        return component.finish()
      },
      upcast: false,
      latents: { input: 'latents', channels, outChannels: channels, patch: 1, sampleSize: { height: 8, width: 8 } },
      promptInputs: ['encoder_hidden_states'],
      contextWidth,
      promptMisfit: ({ hidden }) =>
        hidden === contextWidth ? undefined : { key: 'cross_attention_dim', value: contextWidth, allowed: hidden },
      stepInputs: (timesteps) => ({
        time: { dims: [timesteps.length, 1], data: Float32Array.from(timesteps, (timestep) => timestep / 1000) },
      }),
      tableInputs: () => ({}),
      skippableLayers: 0,
    }
  },
}

export const madeUp: PipelineFamily = {
  className: 'MadeUpPipeline',
  label: 'Made up',
  networks: { text_encoder: [CLIPTextModel], transformer: [MadeUpTransformer2DModel], vae: [AutoencoderKL] },
  tokenizers: { tokenizer: [CLIPTokenizer] },
  optional: [],
  ignored: { safety_checker: 'not used.' },
  defaults: { numInferenceSteps: 3, guidanceScale: 4 },
  guidance: 'none',
  rescalesGuidance: false,
  imageToImage: { strength: 0.5, partialStepRuns: false },
  latentScales: scaledLatents,
  preview: { channels: [], bias: [0, 0, 0] },
  promptEncoder: (parts, hosts) => {
    const encoder = textEncoderOf(parts, hosts, 'text_encoder', 'tokenizer')
    if (encoder === null) throw new Error('There is no text encoder.')
    return {
      check: () => {},
      encode: async (prompt, _options, _guided, call) => {
        const { hidden } = await encoder.encode(prompt, call, { output: 'last_hidden_state' })
        return { positive: { embeds: sideBySide([hidden]), pooled: null }, negative: null }
      },
    }
  },
  condition: ({ device, prompts, count, denoiser }) => ({
    encoder_hidden_states: assembleBatch(
      device,
      prompts.map(({ embeds }) => embeds),
      count,
      denoiser.name,
    ),
  }),
}

const shapes = {
  'context.bias': [4],
  'context.weight': [4, 32],
  'pixel.bias': [4],
  'pixel.weight': [4, 4, 1, 1],
  'time.bias': [4],
  'time.weight': [4, 1],
} as const
const weights = new Map(
  Object.entries(shapes).map(([name, dims], seed): [string, Float32Array<ArrayBuffer>] => [
    name,
    numbers(elementCount(dims), seed),
  ]),
)

function weightOf(name: string): Float32Array<ArrayBuffer> {
  const values = weights.get(name)
  if (values === undefined) throw new Error(`There is no ${name}.`)
  return values
}

/** One value of the denoiser's weights. */
export const at = (name: keyof typeof shapes, index: number): number => weightOf(name)[index] ?? Number.NaN

function weightFile(): Uint8Array {
  const file = float32File(shapes)
  let begin = file.byteLength
  for (const [name, shape] of Object.entries(shapes).toReversed()) {
    begin -= 4 * elementCount(shape)
    file.set(new Uint8Array(weightOf(name).buffer), begin)
  }
  return file
}

/** The repository of tiny-sd15 with the made-up denoiser in place of its UNet. */
export function madeUpRepository() {
  const folder = join(fixtures, 'tiny-sd15/repo')
  const { unet: _, ...index } = JSON.parse(readFileSync(join(folder, 'model_index.json'), 'utf8')) as Record<string, unknown>
  const madeUpIndex = { ...index, _class_name: madeUp.className, transformer: ['diffusers', facts.className] }
  return diskRepository(folder, {
    'model_index.json': JSON.stringify(madeUpIndex),
    'transformer/config.json': JSON.stringify({ in_channels: 4, cross_attention_dim: 32 }),
    'transformer/diffusion_pytorch_model.safetensors': weightFile(),
  })
}
