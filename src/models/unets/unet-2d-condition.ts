/**
 * UNet2DConditionModel of diffusers. Stages are conv_in, the time embedding, each resnet, each transformer block, each sampler and
 * conv_out. One more stage before the blocks of a transformer makes tokens of the image, and one after them makes an image of the tokens.
 * Equal stages share a program. The stages with the keys and values of the prompt run once.
 */

import { InputError } from '../../errors.js'
import { ComponentBuilder } from '../../onnx/component-builder.js'
import { scalar } from '../../onnx/constants.js'
import type { GraphBuilder } from '../../onnx/graph-builder.js'
import { add, scale, silu, sub } from '../../onnx/ops-math.js'
import { concat, dimension } from '../../onnx/ops-shape.js'
import type { ComponentGraph, ValueInfo, WriteOptions } from '../../onnx/types.js'
import { conv2d, groupNorm, linear, timestepMlp, toCompute, toFloat32 } from '../layers/layers.js'
import { downsample2D, resnetBlock2D, upsample2D } from '../layers/resnet.js'
import { checkShape, shapeLimits } from '../layers/shape.js'
import { guidanceScaleEmbedding, timestepEmbedding } from '../layers/timestep-embedding.js'
import { basicTransformerBlock, promptKeysAndValues, transformerIn, transformerOut } from '../layers/transformer-2d.js'
import { currentNames, type ConfigMisfit, type DenoiserDefinition, type PromptWidths } from '../types.js'
import { readUnetConfig, type UnetAttention, type UnetConfig } from './unet-2d-condition-config.js'

/** Sizes in latent pixels; the batch counts both halves of classifier-free guidance. */
interface UnetShape {
  readonly batch: number
  readonly height: number
  readonly width: number
  readonly sequenceLength: number
}

/** @throws InputError */
function writeGraph(unet: UnetConfig, shape: UnetShape, options: WriteOptions): ComponentGraph {
  const { batch: most, sequenceLength: longest, latentEdge } = shapeLimits
  checkShape({ ...shape }, { batch: most, height: latentEdge, width: latentEdge, sequenceLength: longest })
  return new UnetWriter(unet, shape, options).write()
}

class UnetWriter {
  readonly #unet: UnetConfig
  readonly #shape: UnetShape
  readonly #component: ComponentBuilder
  #temb: ValueInfo | undefined
  /** The prompt's embeddings, in the type in which the graph computes. */
  #context: ValueInfo | undefined

  constructor(unet: UnetConfig, shape: UnetShape, options: WriteOptions) {
    this.#unet = unet
    this.#shape = shape
    this.#component = new ComponentBuilder('UNet2DConditionModel', options)
  }

  write(): ComponentGraph {
    const unet = this.#unet
    const { batch, height, width, sequenceLength } = this.#shape
    const component = this.#component
    const sample = component.input('sample', 'float32', [batch, unet.inChannels, height, width])
    const timestep = component.input('timestep_proj', 'float32', [batch, unet.time.width])
    const context = component.input('encoder_hidden_states', 'float32', [batch, sequenceLength, unet.contextWidth])
    const added = unet.added === undefined ? undefined : component.input('add_embeds', 'float32', [batch, unet.added.width])

    const guidance =
      unet.guidanceWidth === null ? undefined : component.input('timestep_cond', 'float32', [batch, unet.guidanceWidth])

    this.#temb = this.#timeEmbedding(guidance === undefined ? timestep : this.#addGuidance(timestep, guidance), added)
    this.#context =
      component.options.dtype === 'float32'
        ? context
        : component.onceStage('encoder_hidden_states', { context }, (graph, inputs) => ({
            context: toCompute(graph, inputs.context),
          })).context

    let { hidden } = component.stage(
      'conv_in',
      { sample },
      (graph, inputs) => {
        const latents = toCompute(graph, unet.centerInputSample ? centered(graph, inputs.sample) : inputs.sample)
        return { hidden: conv2d(graph, latents, 'conv_in', unet.down[0]?.channels ?? 0, unet.convInKernel) }
      },
      '',
    )
    const skips = [hidden]
    for (const [index, block] of unet.down.entries()) {
      const name = `down_blocks.${index}`
      for (let layer = 0; layer < block.resnets; layer++) {
        hidden = this.#resnet(`${name}.resnets.${layer}`, hidden, undefined, block.channels)
        hidden = this.#attend(`${name}.attentions.${layer}`, hidden, block.attention, layer)
        skips.push(hidden)
      }
      if (index < unet.down.length - 1) {
        const stage = component.stage(`${name}.downsamplers.0`, { hidden }, (graph, inputs) => ({
          hidden: downsample2D(graph, inputs.hidden, unet.downsamplePadding),
        }))
        hidden = stage.hidden
        skips.push(hidden)
      }
    }

    if (unet.mid !== undefined) {
      const channels = dimension(hidden, 1)
      hidden = this.#resnet('mid_block.resnets.0', hidden, undefined, channels, unet.mid.scaleFactor)
      if (unet.mid.attention !== undefined) {
        hidden = this.#attend('mid_block.attentions.0', hidden, unet.mid.attention, 0)
        hidden = this.#resnet('mid_block.resnets.1', hidden, undefined, channels, unet.mid.scaleFactor)
      }
    }

    for (const [index, block] of unet.up.entries()) {
      const name = `up_blocks.${index}`
      for (let layer = 0; layer < block.resnets; layer++) {
        hidden = this.#resnet(`${name}.resnets.${layer}`, hidden, skips.pop(), block.channels)
        hidden = this.#attend(`${name}.attentions.${layer}`, hidden, block.attention, layer)
      }
      const next = skips.at(-1)
      if (next !== undefined) {
        // The new size is that of the next skip connection: twice the old one, unless the downsampler halved an odd size.
        const stage = component.stage(`${name}.upsamplers.0`, { hidden }, (graph, inputs) => ({
          hidden: upsample2D(graph, inputs.hidden, dimension(next, 2), dimension(next, 3)),
        }))
        hidden = stage.hidden
      }
    }

    const { noise } = component.stage(
      'conv_out',
      { hidden },
      (graph, inputs) => {
        const normed = silu(graph, groupNorm(graph, inputs.hidden, 'conv_norm_out', unet.groups, unet.epsilon))
        return { noise: toFloat32(graph, conv2d(graph, normed, 'conv_out', unet.outChannels, unet.convOutKernel)) }
      },
      '',
    )
    component.output('out_sample', noise)
    return component.finish()
  }

  /** Adds the projection of the guidance scale's embedding to the timestep's. */
  #addGuidance(timestep: ValueInfo, guidance: ValueInfo): ValueInfo {
    return this.#component.stage(
      'time_embedding.cond_proj',
      { timestep, guidance },
      (graph, inputs) => {
        const projected = linear(graph, toCompute(graph, inputs.guidance), 'cond_proj', dimension(inputs.timestep, 1), {
          bias: false,
        })
        return { time: add(graph, toCompute(graph, inputs.timestep), projected) }
      },
      'time_embedding',
    ).time
  }

  /** SiLU of the sum of the time embedding and SDXL's added condition. */
  #timeEmbedding(timestep: ValueInfo, added: ValueInfo | undefined): ValueInfo {
    const width = this.#unet.timeEmbedWidth
    const body = (graph: GraphBuilder, timestep: ValueInfo, added: ValueInfo | undefined) => {
      const time = timestepMlp(graph, toCompute(graph, timestep), 'time_embedding', width)
      const sum =
        added === undefined ? time : add(graph, time, timestepMlp(graph, toCompute(graph, added), 'add_embedding', width))
      return { temb: silu(graph, sum) }
    }
    const component = this.#component
    return added === undefined
      ? component.stage('time_embedding', { timestep }, (graph, inputs) => body(graph, inputs.timestep, undefined), '').temb
      : component.stage('time_embedding', { timestep, added }, (graph, inputs) => body(graph, inputs.timestep, inputs.added), '')
          .temb
  }

  #resnet(name: string, hidden: ValueInfo, skip: ValueInfo | undefined, channels: number, outputScaleFactor?: number): ValueInfo {
    const temb = this.#temb
    if (temb === undefined) throw new Error('A ResNet was written before the time embedding that it reads')
    const settings = { groups: this.#unet.groups, epsilon: this.#unet.epsilon, outputScaleFactor }
    if (skip === undefined) {
      return this.#component.stage(name, { hidden, temb }, (graph, inputs) => ({
        hidden: resnetBlock2D(graph, inputs.hidden, inputs.temb, channels, settings),
      })).hidden
    }
    return this.#component.stage(name, { hidden, skip, temb }, (graph, inputs) => ({
      hidden: resnetBlock2D(graph, concat(graph, [inputs.hidden, inputs.skip], 1), inputs.temb, channels, settings),
    })).hidden
  }

  #attend(name: string, image: ValueInfo, attention: UnetAttention | undefined, layer: number): ValueInfo {
    const context = this.#context
    if (attention === undefined) return image
    if (context === undefined) throw new Error('An attention was written before the prompt that it reads')
    const component = this.#component
    const settings = {
      batch: this.#shape.batch,
      heads: attention.heads,
      upcastAttention: this.#unet.upcastAttention,
    }
    let { hidden } = component.stage(
      `${name}.proj_in`,
      { image },
      (graph, inputs) => ({ hidden: transformerIn(graph, inputs.image, this.#unet.groups) }),
      name,
    )
    for (let index = 0; index < (attention.depths[layer] ?? 0); index++) {
      const block = `${name}.transformer_blocks.${index}`
      // The keys and values depend on the prompt alone: they are computed once for all steps.
      const prompt = (attn: string) =>
        component.onceStage(`${block}.${attn}`, { context }, (graph, inputs) =>
          promptKeysAndValues(graph, inputs.context, dimension(image, 1), settings),
        )
      const { key, value } = prompt('attn2')
      const own = attention.onlyCrossAttention ? prompt('attn1') : undefined
      const given = { hidden, ownKey: own?.key, ownValue: own?.value, key, value }
      const stage = component.stage(block, given, (graph, { ownKey, ownValue, ...inputs }) => {
        const first = ownKey === undefined || ownValue === undefined ? undefined : { key: ownKey, value: ownValue }
        return { hidden: basicTransformerBlock(graph, inputs.hidden, first, inputs, settings) }
      })
      hidden = stage.hidden
    }
    const out = component.stage(
      `${name}.proj_out`,
      { hidden, image },
      (graph, inputs) => ({ image: transformerOut(graph, inputs.hidden, inputs.image) }),
      name,
    )
    return out.image
  }
}

/** 2 · sample − 1. */
function centered(graph: GraphBuilder, sample: ValueInfo): ValueInfo {
  return sub(graph, scale(graph, sample, 2), scalar(graph, 1, sample.type))
}

/**
 * Embeds SDXL's time ids (six per image, or five for the refiner). In each row of the input `add_embeds`, the result follows `textWidth`
 * columns of pooled text embedding. `timeIds` is a flat array [batch, ids]; the result is a flat array [batch, ids · embedding width].
 * @throws InputError `invalid-shape` if the widths do not add up
 */
export function unetTimeIdEmbeds(
  { added }: Pick<UnetConfig, 'added'>,
  timeIds: ArrayLike<number>,
  batch: number,
  textWidth: number,
): Float32Array<ArrayBuffer> {
  if (added === undefined)
    throw new InputError('invalid-shape', 'This UNet does not accept added conditions', { key: 'add_embeds' })
  const timeWidth = (timeIds.length / batch) * added.time.width
  if (textWidth + timeWidth !== added.width) {
    const message = `The UNet expects ${added.width} added features, but the text gives ${textWidth} and the time ids give ${timeWidth}`
    throw new InputError('invalid-shape', message, { key: 'add_embeds', expected: added.width, text: textWidth, time: timeWidth })
  }
  return timestepEmbedding(timeIds, added.time)
}

/** The number of SDXL's time ids: two each for `original_size`, `crops_coords_top_left` and `target_size`. */
const timeIdCount = 6

function promptMisfit({ contextWidth, added }: UnetConfig, { hidden, pooled }: PromptWidths): ConfigMisfit | undefined {
  if (contextWidth !== hidden) return { key: 'cross_attention_dim', value: contextWidth, allowed: hidden }
  const [own, needed] = [added === undefined ? null : 'text_time', pooled === null ? null : 'text_time']
  if (own !== needed) return { key: 'addition_embed_type', value: own, allowed: needed }
  if (added === undefined || pooled === null) return undefined
  const allowed = pooled + timeIdCount * added.time.width
  return added.width === allowed ? undefined : { key: 'projection_class_embeddings_input_dim', value: added.width, allowed }
}

const facts = {
  className: 'UNet2DConditionModel',
  library: 'diffusers',
  role: 'denoiser',
  weights: { ...currentNames, unused: [] },
  quantizable: true,
  sensitive: { kept: /^(?:time_embedding|add_embedding|class_embedding)\./, eightBits: /\.time_emb_proj\./ },
} as const

/** The number of CLIP's tokens, which memory plans assume for the prompt of a UNet. */
const clipTokens = 77

/** The denoiser of Stable Diffusion 1.x, 2.x and SDXL. */
export const UNet2DConditionModel: DenoiserDefinition<UnetConfig> = {
  ...facts,
  fromConfig: (given) => {
    const config = readUnetConfig(given)
    const { inChannels, contextWidth, sampleSize, guidanceWidth } = config
    const edge = 2 ** config.down.length
    return {
      ...facts,
      config,
      ignoredKeys: config.ignoredKeys,
      unusedValues: config.unusedValues,
      smallest: { height: edge, width: edge },
      shapes: ({ height, width, images = 1, guided = true }) => {
        const batch = images * (guided && guidanceWidth === null ? 2 : 1)
        return {
          sample: [batch, inChannels, height, width],
          encoder_hidden_states: [batch, clipTokens, contextWidth],
        }
      },
      write: (shapes, options) => {
        const { sample: [batch = 0, , height = 0, width = 0] = [], encoder_hidden_states: [, sequenceLength = 0] = [] } = shapes
        return writeGraph(config, { batch, height, width, sequenceLength }, options)
      },
      upcast: false,
      latents: { input: 'sample', channels: inChannels, outChannels: config.outChannels, patch: 1, sampleSize },
      promptInputs: ['encoder_hidden_states', 'add_embeds'],
      contextWidth,
      promptMisfit: (given) => promptMisfit(config, given),
      stepInputs: (timesteps) => ({
        timestep_proj: { dims: [timesteps.length, config.time.width], data: timestepEmbedding(timesteps, config.time) },
      }),
      ...(guidanceWidth === null
        ? {}
        : {
            guidanceInputs: (scale: number, batch: number) => {
              const row = guidanceScaleEmbedding(scale - 1, guidanceWidth)
              const data = Float32Array.from({ length: batch * guidanceWidth }, (_, i) => row[i % guidanceWidth] ?? 0)
              return { timestep_cond: { dims: [batch, guidanceWidth], data } }
            },
          }),
      tableInputs: () => ({}),
      skippableLayers: 0,
    }
  },
}
