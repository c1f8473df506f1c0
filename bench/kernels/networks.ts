/** The networks of `npm run bench:kernels`: structures of published models at widths that a software adapter can run. */

import type { Config } from '../../src/checkpoint/types.js'

/** A network to count. */
export interface CountedNetwork {
  /** A class of models/registry.ts. */
  readonly className: string
  readonly config: Config
  /** Edge of the latents, in latent pixels. */
  readonly latents: number
}

/** By name. All have batch 2, for guidance. */
export const countedNetworks = {
  'sdxl-unet': {
    className: 'UNet2DConditionModel',
    latents: 16,
    config: {
      block_out_channels: [64, 128, 256],
      down_block_types: ['DownBlock2D', 'CrossAttnDownBlock2D', 'CrossAttnDownBlock2D'],
      up_block_types: ['CrossAttnUpBlock2D', 'CrossAttnUpBlock2D', 'UpBlock2D'],
      transformer_layers_per_block: [1, 2, 10],
      attention_head_dim: [1, 2, 4],
      cross_attention_dim: 2048,
      use_linear_projection: true,
      addition_embed_type: 'text_time',
      addition_time_embed_dim: 256,
      projection_class_embeddings_input_dim: 2816,
    },
  },
  'sd15-unet': {
    className: 'UNet2DConditionModel',
    latents: 16,
    config: { block_out_channels: [64, 128, 256, 256], cross_attention_dim: 768, attention_head_dim: 8 },
  },
  'sd3-transformer': {
    className: 'SD3Transformer2DModel',
    latents: 16,
    config: {
      num_layers: 24,
      num_attention_heads: 4,
      attention_head_dim: 64,
      caption_projection_dim: 256,
      joint_attention_dim: 4096,
      pooled_projection_dim: 2048,
      pos_embed_max_size: 96,
    },
  },
} as const satisfies Record<string, CountedNetwork>

export type CountedName = keyof typeof countedNetworks
