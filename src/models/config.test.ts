/** The configs and sizes that network classes refuse. */

import { describe, expect, test } from 'vitest'
import type { Config } from '../checkpoint/types.js'
import { AquatintError, CheckpointError, InputError, UnsupportedError } from '../errors.js'
import type { WriteOptions } from '../onnx/types.js'
import { AutoencoderKL } from './autoencoders/autoencoder-kl.js'
import { CLIPTextModel } from './text-encoders/clip-text-model.js'
import { SD3Transformer2DModel } from './transformers/transformer-sd3.js'
import { T5EncoderModel } from './text-encoders/t5-encoder-model.js'
import { fixtures, readJson } from './testing.node.js'
import { graphFor } from './testing.js'
import { AutoencoderTiny } from './autoencoders/autoencoder-tiny.js'
import { UNet2DConditionModel, unetTimeIdEmbeds } from './unets/unet-2d-condition.js'

const options: WriteOptions = { dtype: 'float32', weights: 'input', granularity: 'block' }

const unet = readJson(`${fixtures}tiny-sdxl/repo/unet/config.json`)
const vae = readJson(`${fixtures}tiny-sdxl/repo/vae/config.json`)
const clip = readJson(`${fixtures}tiny-sdxl/repo/text_encoder/config.json`)
const t5 = readJson(`${fixtures}tiny-sd3/repo/text_encoder_3/config.json`)
const sd3 = readJson(`${fixtures}tiny-sd35/repo/transformer/config.json`)

const size = { batch: 1, height: 8, width: 8, sequenceLength: 7 }

const write: Readonly<Record<string, (changes: Config) => unknown>> = {
  unet: (changes) => graphFor(UNet2DConditionModel, { ...unet, ...changes }, size, options),
  vae: (changes) => graphFor(AutoencoderKL, { ...vae, ...changes }, size, options),
  clip: (changes) => graphFor(CLIPTextModel, { ...clip, ...changes }, size, options),
  t5: (changes) => graphFor(T5EncoderModel, { ...t5, ...changes }, size, options),
  sd3: (changes) => graphFor(SD3Transformer2DModel, { ...sd3, ...changes }, size, options),
}

function caught(run: () => unknown): AquatintError {
  try {
    run()
  } catch (error) {
    if (error instanceof AquatintError) return error
    throw error
  }
  throw new Error('Nothing was refused')
}

const unsupported: readonly (readonly [string, string, unknown])[] = [
  ['unet', 'num_attention_heads', 8],
  ['unet', 'dual_cross_attention', true],
  ['unet', 'class_embed_type', 'projection'],
  ['unet', 'num_class_embeds', 1000],
  ['unet', 'class_embeddings_concat', true],
  ['unet', 'encoder_hid_dim', 64],
  ['unet', 'encoder_hid_dim_type', 'text_proj'],
  ['unet', 'resnet_time_scale_shift', 'scale_shift'],
  ['unet', 'time_embedding_type', 'fourier'],
  ['unet', 'time_embedding_act_fn', 'silu'],
  ['unet', 'timestep_post_act', 'silu'],
  ['unet', 'attention_type', 'gated'],
  ['unet', 'act_fn', 'gelu'],
  ['unet', 'addition_embed_type', 'image'],
  ['unet', 'mid_block_type', 'UNetMidBlock2DSimpleCrossAttn'],
  ['unet', 'down_block_types', ['DownBlock2D', 'KDownBlock2D', 'DownBlock2D']],
  ['unet', 'up_block_types', ['UpBlock2D', 'AttnUpBlock2D', 'UpBlock2D']],
  ['unet', 'cross_attention_dim', [80, 80, 64]],
  ['unet', 'conv_in_kernel', 4],
  ['vae', 'act_fn', 'relu'],
  ['vae', 'down_block_types', ['AttnDownEncoderBlock2D', 'DownEncoderBlock2D', 'DownEncoderBlock2D', 'DownEncoderBlock2D']],
  ['clip', 'hidden_act', 'relu'],
  ['clip', 'use_attention_mask', true],
  ['t5', 'feed_forward_proj', 'gated-tanh'],
  ['t5', 'dense_act_fn', 'tanh'],
  ['t5', 'is_decoder', true],
  ['sd3', 'qk_norm', 'layer_norm'],
]

test.each(unsupported)('%s: %s %j is refused by name', (network, key, value) => {
  const error = caught(() => write[network]!({ [key]: value }))
  expect(error).toBeInstanceOf(UnsupportedError)
  expect(error.code).toBe('unsupported-config')
  expect(error.details).toMatchObject({ key })
  expect(error.message).toContain(key)
})

const invalid: readonly (readonly [string, string, unknown])[] = [
  ['unet', 'block_out_channels', [16, 16]],
  ['unet', 'block_out_channels', [16, 16, 1e9]],
  ['unet', 'block_out_channels', [16, 16, 31]],
  ['unet', 'block_out_channels', '16'],
  ['unet', 'norm_num_groups', 7],
  ['unet', 'norm_num_groups', null],
  ['unet', 'layers_per_block', 0],
  ['unet', 'layers_per_block', 10_000],
  ['unet', 'layers_per_block', [1, 1]],
  ['unet', 'attention_head_dim', [1, 3, 4]],
  ['unet', 'attention_head_dim', Number.NaN],
  ['unet', 'transformer_layers_per_block', [1, 1, 1000]],
  ['unet', 'transformer_layers_per_block', [1, 1, [2, 2]]],
  ['unet', 'reverse_transformer_layers_per_block', [[1], 1, 1]],
  ['unet', 'only_cross_attention', [true]],
  ['unet', 'up_block_types', ['UpBlock2D']],
  ['unet', 'down_block_types', []],
  ['unet', 'in_channels', 4.5],
  ['unet', 'norm_eps', -1],
  ['unet', 'freq_shift', 8],
  ['unet', 'projection_class_embeddings_input_dim', null],
  ['unet', 'addition_time_embed_dim', null],
  ['vae', 'block_out_channels', [8, 8, 16]],
  ['vae', 'norm_num_groups', 3],
  ['vae', 'latent_channels', 0],
  ['vae', 'scaling_factor', 0],
  ['clip', 'num_attention_heads', 3],
  ['clip', 'hidden_size', 1e12],
  ['clip', 'num_hidden_layers', -1],
  ['clip', 'eos_token_id', [1, 2]],
  ['t5', 'num_layers', 1e6],
  ['t5', 'relative_attention_max_distance', 8],
  ['sd3', 'caption_projection_dim', 64],
  ['sd3', 'dual_attention_layers', 3],
]

test.each(invalid)('%s: %s %j is invalid', (network, key, value) => {
  const error = caught(() => write[network]!({ [key]: value }))
  expect(error).toBeInstanceOf(CheckpointError)
  expect(error.code).toBe('invalid-config')
  expect(error.message).toContain('allowed')
})

test.each([
  [UNet2DConditionModel, unet],
  [AutoencoderKL, vae],
  [CLIPTextModel, clip],
  [T5EncoderModel, t5],
  [SD3Transformer2DModel, sd3],
] as const)('$className leaves out the keys that it does not have, and lists those with a value', (definition, config) => {
  const keys = { a_key_of_the_future: { x: 1 }, one_more: 'on', empty: null, off: false }
  const { ignoredKeys } = definition.fromConfig({ ...config, ...keys })
  expect(ignoredKeys).toEqual({ a_key_of_the_future: { x: 1 }, one_more: 'on' })
  expect(definition.fromConfig(config).ignoredKeys).toEqual({})
})

test.each(Object.keys(write))('%s is refused where another tool has quantized its weights', (network) => {
  const error = caught(() => write[network]!({ quantization_config: { quant_method: 'bitsandbytes' } }))
  expect(error).toMatchObject({ code: 'unsupported-config', details: { key: 'quantization_config' } })
})

test('the scale of latents does not change the graph: the pipeline applies it', () => {
  const scaling = { scaling_factor: 0.5, shift_factor: 0.1, latents_mean: [0, 1, 2, 3], latents_std: [1, 2, 3, 4] }
  expect(write.vae!(scaling)).toEqual(write.vae!({}))
})

test('the details of an error are plain data', () => {
  const error = caught(() => write.unet!({ encoder_hid_dim: 64 }))
  expect(structuredClone(error.details)).toEqual({
    className: 'UNet2DConditionModel',
    key: 'encoder_hid_dim',
    value: 64,
    allowed: [null],
  })
  const long = caught(() => write.clip!({ hidden_act: 'x'.repeat(5000) }))
  expect(JSON.stringify(long.details).length).toBeLessThan(600)
  expect(long.message.length).toBeLessThan(600)
})

describe('is refused by its size or number:', () => {
  const cases: readonly (readonly [string, () => unknown])[] = [
    ['batch 0', () => graphFor(UNet2DConditionModel, unet, { ...size, batch: 0 }, options)],
    ['a fraction of a pixel', () => graphFor(UNet2DConditionModel, unet, { ...size, height: 8.5 }, options)],
    ['a billion pixels', () => graphFor(AutoencoderKL, vae, { ...size, width: 1e9 }, options)],
    ['an image beyond all limits', () => graphFor(AutoencoderKL, vae, { ...size, width: 1e6 }, options, { part: 'encoder' })],
    ['more tokens than positions', () => graphFor(CLIPTextModel, clip, { batch: 1, sequenceLength: 78 }, options)],
    ['a latent that is no multiple of the patch', () => graphFor(SD3Transformer2DModel, sd3, { ...size, height: 7 }, options)],
    [
      'a latent larger than the position table',
      () => SD3Transformer2DModel.fromConfig(sd3).tableInputs({ height: 26, width: 8 }),
    ],
    ['ids that are no whole sequences', () => CLIPTextModel.fromConfig(clip).hostInputs([1, 2, 3], 2)],
    [
      'text and time ids that do not add up',
      () => unetTimeIdEmbeds(UNet2DConditionModel.fromConfig(unet).config, new Float32Array(6), 1, 31),
    ],
    ['an added condition for a UNet without', () => unetTimeIdEmbeds({ added: undefined }, [], 1, 0)],
  ]
  test.each(cases)('%s', (_, run) => {
    const error = caught(run)
    expect(error).toBeInstanceOf(InputError)
    expect(error.code).toBe('invalid-shape')
  })

  test('hidden states that the encoder does not have', () => {
    for (const index of [-6, 5, 0.5]) {
      const error = caught(() =>
        graphFor(CLIPTextModel, clip, size, options, { hiddenStates: [{ index, finalLayerNorm: false }] }),
      )
      expect(error.code).toBe('invalid-hidden-state')
    }
  })

  test('layers that cannot be skipped', () => {
    for (const layer of [-1, 3, 0.5]) {
      expect(caught(() => graphFor(SD3Transformer2DModel, sd3, size, options, { skipLayers: [layer] })).code).toBe('skip-layers')
    }
  })
})

test('an autoencoder whose statistics are not valid is refused only where a pipeline class uses them', () => {
  const { scaling } = AutoencoderKL.fromConfig({
    ...vae,
    scaling_factor: 0.5,
    shift_factor: 'none',
    latents_mean: [1, 2],
    latents_std: 3,
  })
  expect(scaling.factor).toBe(0.5)
  for (const key of ['shift', 'mean', 'std'] as const)
    expect(caught(() => scaling[key])).toMatchObject({ code: 'invalid-config', details: { className: 'AutoencoderKL' } })
  expect(caught(() => AutoencoderKL.fromConfig({ ...vae, scaling_factor: 0 })).code).toBe('invalid-config')
})

test('a model says what the host computes, as its config requires', () => {
  expect(UNet2DConditionModel.fromConfig(unet).config.added).toBeDefined()
  expect(UNet2DConditionModel.fromConfig({ ...unet, addition_embed_type: null }).config.added).toBeUndefined()
  expect(AutoencoderKL.fromConfig(vae).scaleFactor).toBe(8)
  expect(CLIPTextModel.fromConfig(clip).tokenEmbedding).toEqual({
    tensors: ['text_model.embeddings.token_embedding.weight', 'embeddings.token_embedding.weight'],
    rows: 1514,
    width: 32,
  })
  // cos(0) comes first, because flip_sin_to_cos is true.
  expect([...(UNet2DConditionModel.fromConfig(unet).stepInputs([0])['timestep_proj']?.data ?? [])]).toEqual([
    ...Array.from({ length: 8 }, () => 1),
    ...Array.from({ length: 8 }, () => 0),
  ])
})

test('the pooled row is that of the first end-of-text token, or with the legacy eos_token_id 2 that of the first highest id', () => {
  const ids = [0, 9, 1513, 5, 1513, 1, 0, 3, 4, 5, 6, 7]
  const pooling = (config: Config) => [...(CLIPTextModel.fromConfig(config).hostInputs(ids, 6)['pooling']?.data ?? [])]
  expect(pooling(clip)).toEqual([0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0])
  expect(pooling({ ...clip, eos_token_id: 2 })).toEqual([0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1])
})

test('AutoencoderTiny lists the values of keys that it never reads, unless they are the usual values', () => {
  const usual = { latent_magnitude: 3, latent_shift: 0.5, force_upcast: false, block_out_channels: [64, 64, 64, 64] }
  expect(AutoencoderTiny.fromConfig(usual).unusedValues).toEqual({})
  const other = { latent_magnitude: 4, latent_shift: 1, force_upcast: true, block_out_channels: [32] }
  expect(AutoencoderTiny.fromConfig(other).unusedValues).toEqual(other)
})
