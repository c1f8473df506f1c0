/**
 * SD3Transformer2DModel of diffusers: Stable Diffusion 3 and 3.5. Stages are the embeddings, each joint block and the output. The position
 * table is not in the graph: it is large, and the host reads the rows of the crop that a size needs.
 */

import type { Config } from '../../checkpoint/types.js'
import { InputError } from '../../errors.js'
import { ComponentBuilder } from '../../onnx/component-builder.js'
import { add, silu } from '../../onnx/ops-math.js'
import { reshape, transpose } from '../../onnx/ops-shape.js'
import type { ComponentGraph, WriteOptions } from '../../onnx/types.js'
import { ConfigReader } from '../config-reader.js'
import { jointTransformerBlock } from '../layers/joint-transformer-block.js'
import { addToResidual, conv2d, imageToTokens, timestepMlp, toCompute, toFloat32, tokenLinear } from '../layers/layers.js'
import { adaLayerNormContinuous } from '../layers/modulation.js'
import { checkShape, shapeLimits } from '../layers/shape.js'
import { timestepEmbedding } from '../layers/timestep-embedding.js'
import { readExtent } from '../read-extent.js'
import { currentNames, defaultMaxSequenceLength, type DenoiserDefinition, type Extent, type TableInput } from '../types.js'

/** Sizes in latent pixels; the batch counts both halves of guidance, `sequenceLength` the tokens of CLIP and T5 together. */
interface Sd3Shape {
  readonly batch: number
  readonly height: number
  readonly width: number
  readonly sequenceLength: number
}

interface Sd3Config {
  /** Keys of the config that the class does not have. */
  readonly ignoredKeys: Config
  /** Keys of the class whose values have no effect here. */
  readonly unusedValues: Config
  readonly sampleSize: Extent
  readonly patch: number
  readonly inChannels: number
  readonly outChannels: number
  readonly layers: number
  readonly heads: number
  readonly headSize: number
  readonly contextWidth: number
  readonly pooledWidth: number
  readonly positions: number
  readonly dualLayers: ReadonlySet<number>
  readonly qkNorm: boolean
}

/** Fixed in diffusers' CombinedTimestepTextProjEmbeddings. */
const timeSettings = { width: 256, flipSinToCos: true, freqShift: 0 }

function readConfig(config: Config): Sd3Config {
  const reader = new ConfigReader('SD3Transformer2DModel', config)
  const heads = reader.integer('num_attention_heads', 18, { min: 1, max: 256 })
  const headSize = reader.integer('attention_head_dim', 64, { min: 1, max: 1024 })
  const layers = reader.integer('num_layers', 18, { min: 1, max: 128 })
  const inChannels = reader.integer('in_channels', 16, { min: 1, max: 1024 })
  const projected = reader.integer('caption_projection_dim', 1152, { min: 1, max: 65536 })
  if (projected !== heads * headSize)
    throw reader.invalid('caption_projection_dim', `num_attention_heads · attention_head_dim, ${heads * headSize}`)
  const dual = reader.raw('dual_attention_layers') ?? []
  if (!Array.isArray(dual) || !dual.every((layer): layer is number => Number.isInteger(layer)))
    throw reader.invalid('dual_attention_layers', 'a list of layers')
  const result: Omit<Sd3Config, 'ignoredKeys' | 'unusedValues'> = {
    sampleSize: readExtent(reader, 'sample_size', 128),
    patch: reader.integer('patch_size', 2, { min: 1, max: 16 }),
    inChannels,
    outChannels: reader.raw('out_channels') === null ? inChannels : reader.integer('out_channels', 16, { min: 1, max: 1024 }),
    layers,
    heads,
    headSize,
    contextWidth: reader.integer('joint_attention_dim', 4096, { min: 1, max: 65536 }),
    pooledWidth: reader.integer('pooled_projection_dim', 2048, { min: 1, max: 65536 }),
    positions: reader.integer('pos_embed_max_size', 96, { min: 1, max: 1024 }),
    dualLayers: new Set(dual),
    qkNorm: reader.oneOf('qk_norm', null, [null, 'rms_norm']) === 'rms_norm',
  }
  // diffusers ignores an index that no layer has.
  if (dual.some((layer) => layer < 0 || layer >= layers)) reader.unused('dual_attention_layers')
  return { ...result, ignoredKeys: reader.finish(), unusedValues: reader.unusedValues }
}

/** Patches along each side. @throws InputError where the size is no multiple of the patch, or larger than the position table */
function patchGrid(
  sd3: Sd3Config,
  size: { readonly height: number; readonly width: number },
): { readonly rows: number; readonly columns: number } {
  const limit = Math.min(shapeLimits.latentEdge, sd3.positions * sd3.patch)
  checkShape({ height: size.height, width: size.width }, { height: limit, width: limit })
  for (const [key, value] of Object.entries({ height: size.height, width: size.width })) {
    if (value % sd3.patch !== 0) {
      const message = `${key} is ${value}; allowed: multiples of the patch size ${sd3.patch}`
      throw new InputError('invalid-shape', message, { key, value, multipleOf: sd3.patch })
    }
  }
  return { rows: size.height / sd3.patch, columns: size.width / sd3.patch }
}

/** @throws InputError `skip-layers` */
function checkSkipLayers(sd3: Sd3Config, layers: readonly number[]): ReadonlySet<number> {
  const wrong = layers.find((layer) => !Number.isInteger(layer) || layer < 0 || layer >= sd3.layers)
  if (wrong === undefined) return new Set(layers)
  const message = `skipLayers has ${wrong}; allowed: layers from 0 to ${sd3.layers - 1}`
  throw new InputError('skip-layers', message, { value: wrong, min: 0, max: sd3.layers - 1 })
}

/** @throws InputError */
function writeGraph(sd3: Sd3Config, shape: Sd3Shape, options: WriteOptions, skipLayers: readonly number[]): ComponentGraph {
  const { batch, height, width, sequenceLength } = shape
  checkShape({ batch, sequenceLength }, { batch: shapeLimits.batch, sequenceLength: shapeLimits.sequenceLength })
  const { rows, columns } = patchGrid(sd3, shape)
  const skipped = checkSkipLayers(sd3, skipLayers)
  const channels = sd3.heads * sd3.headSize
  const component = new ComponentBuilder('SD3Transformer2DModel', options)
  const latents = component.input('hidden_states', 'float32', [batch, sd3.inChannels, height, width])
  const positions = component.input('pos_embed', 'float32', [rows * columns, channels])
  const timestep = component.input('timestep_proj', 'float32', [batch, timeSettings.width])
  const prompt = component.input('encoder_hidden_states', 'float32', [batch, sequenceLength, sd3.contextWidth])
  const pooled = component.input('pooled_projections', 'float32', [batch, sd3.pooledWidth])

  let { hidden } = component.stage('pos_embed', { latents, positions }, (graph, inputs) => {
    const { patch } = sd3
    const how = { stride: patch, pads: [0, 0, 0, 0] } as const
    const image = conv2d(graph, toCompute(graph, inputs.latents), 'proj', channels, patch, how)
    const tokens = reshape(graph, imageToTokens(graph, image), [batch, rows * columns, channels])
    return { hidden: addToResidual(graph, inputs.positions, tokens) }
  })
  const { temb } = component.stage('time_text_embed', { timestep, pooled }, (graph, inputs) => {
    const time = timestepMlp(graph, toCompute(graph, inputs.timestep), 'timestep_embedder', channels)
    const text = timestepMlp(graph, toCompute(graph, inputs.pooled), 'text_embedder', channels)
    // Every use of the time embedding begins with SiLU.
    return { temb: silu(graph, add(graph, time, text)) }
  })
  let { context } = component.stage(
    'context_embedder',
    { prompt },
    (graph, inputs) => ({
      context: toFloat32(graph, tokenLinear(graph, toCompute(graph, inputs.prompt), 'context_embedder', channels)),
    }),
    '',
  )
  for (let index = 0; index < sd3.layers; index++) {
    if (skipped.has(index)) continue
    const name = `transformer_blocks.${index}`
    const contextPreOnly = index === sd3.layers - 1
    const settings = {
      heads: sd3.heads,
      headSize: sd3.headSize,
      qkNorm: sd3.qkNorm,
      dualAttention: sd3.dualLayers.has(index),
      contextPreOnly,
    }
    const values = { hidden, context, temb }
    if (contextPreOnly) {
      const stage = component.stage(name, values, (graph, inputs) => ({
        hidden: jointTransformerBlock(graph, inputs.hidden, inputs.context, inputs.temb, settings).hidden,
      }))
      hidden = stage.hidden
      break
    }
    const stage = component.stage(name, values, (graph, inputs) => {
      const result = jointTransformerBlock(graph, inputs.hidden, inputs.context, inputs.temb, settings)
      if (result.context === undefined) throw new Error('A block that is not the last one returned no tokens of the prompt')
      return { hidden: result.hidden, context: result.context }
    })
    hidden = stage.hidden
    context = stage.context
  }
  const { noise } = component.stage(
    'proj_out',
    { hidden, temb },
    (graph, inputs) => {
      const normed = adaLayerNormContinuous(graph, inputs.hidden, inputs.temb, 'norm_out')
      const { patch, outChannels } = sd3
      const patches = tokenLinear(graph, normed, 'proj_out', patch * patch * outChannels)
      const grid = reshape(graph, patches, [batch, rows, columns, patch, patch, outChannels])
      const image = transpose(graph, grid, [0, 5, 1, 3, 2, 4])
      return { noise: toFloat32(graph, reshape(graph, image, [batch, outChannels, height, width])) }
    },
    '',
  )
  component.output('out_sample', noise)
  return component.finish()
}

/** The middle of the position table, as PatchEmbed's `cropped_pos_embed` takes it. @throws InputError `invalid-shape` */
function positionRows(sd3: Sd3Config, size: Extent): TableInput {
  const { rows, columns } = patchGrid(sd3, size)
  const channels = sd3.heads * sd3.headSize
  const top = Math.floor((sd3.positions - rows) / 2)
  const left = Math.floor((sd3.positions - columns) / 2)
  const runs = Array.from({ length: rows }, (_, row) => {
    const begin = ((top + row) * sd3.positions + left) * channels
    return { begin, end: begin + columns * channels }
  })
  return {
    tensor: 'pos_embed.pos_embed',
    shape: [1, sd3.positions * sd3.positions, channels],
    runs,
    dims: [rows * columns, channels],
  }
}

const facts = {
  className: 'SD3Transformer2DModel',
  library: 'diffusers',
  role: 'denoiser',
  weights: {
    ...currentNames,
    unused: [[/^pos_embed\.pos_embed$/, 'the host reads the part of the position table that a size needs']],
  },
  quantizable: true,
  sensitive: {
    kept: /^(?:time_text_embed|context_embedder|norm_out|proj_out)\./,
    eightBits: /^transformer_blocks\.\d+\.norm1(?:_context)?\.linear\./,
  },
  residual: 'float32',
} as const

/** CLIP's tokens, which come before T5's. */
const clipTokens = 77

/** The denoiser of Stable Diffusion 3 and 3.5. */
export const SD3Transformer2DModel: DenoiserDefinition<Sd3Config> = {
  ...facts,
  fromConfig: (given) => {
    const config = readConfig(given)
    const { patch, inChannels, contextWidth, sampleSize } = config
    return {
      ...facts,
      config,
      ignoredKeys: config.ignoredKeys,
      unusedValues: config.unusedValues,
      smallest: { height: 2 * patch, width: 2 * patch },
      shapes: ({ height, width, images = 1, guided = true, maxSequenceLength = defaultMaxSequenceLength }) => {
        const batch = images * (guided ? 2 : 1)
        return {
          hidden_states: [batch, inChannels, height, width],
          encoder_hidden_states: [batch, clipTokens + maxSequenceLength, contextWidth],
        }
      },
      write: (shapes, options, { skipLayers = [] } = {}) => {
        const { hidden_states: [batch = 0, , height = 0, width = 0] = [], encoder_hidden_states: [, sequenceLength = 0] = [] } =
          shapes
        return writeGraph(config, { batch, height, width, sequenceLength }, options, skipLayers)
      },
      upcast: false,
      latents: { input: 'hidden_states', channels: inChannels, outChannels: config.outChannels, patch, sampleSize },
      promptInputs: ['encoder_hidden_states', 'pooled_projections'],
      contextWidth,
      promptMisfit: ({ hidden, pooled }) => {
        if (contextWidth !== hidden) return { key: 'joint_attention_dim', value: contextWidth, allowed: hidden }
        if (config.pooledWidth !== pooled) return { key: 'pooled_projection_dim', value: config.pooledWidth, allowed: pooled }
        return undefined
      },
      stepInputs: (timesteps) => ({
        timestep_proj: { dims: [timesteps.length, timeSettings.width], data: timestepEmbedding(timesteps, timeSettings) },
      }),
      tableInputs: (size) => ({ pos_embed: positionRows(config, size) }),
      skippableLayers: config.layers,
    }
  },
}
