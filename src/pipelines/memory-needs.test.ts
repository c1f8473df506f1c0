import { expect, test } from 'vitest'
import { heldBytes, runShapes } from './memory-needs.js'

const t5 = { name: 'text_encoder_3', className: 'T5EncoderModel', config: { d_model: 64 } } as const
const transformer = {
  name: 'transformer',
  className: 'SD3Transformer2DModel',
  config: { in_channels: 16, patch_size: 2, joint_attention_dim: 64 },
} as const
const size = { width: 8, height: 4 }

test("Stable Diffusion 3 is planned with the tokens that T5 is given, diffusers' 256 unless said, below CLIP's 77", () => {
  expect(runShapes(t5, size)).toEqual({ inputs_embeds: [1, 256, 64] })
  expect(runShapes(transformer, size)['encoder_hidden_states']).toEqual([2, 333, 64])
  const longer = { ...size, images: 3, t5Tokens: 512 }
  expect(runShapes(t5, longer)).toEqual({ inputs_embeds: [1, 512, 64] })
  expect(runShapes(transformer, longer)).toEqual({ hidden_states: [6, 16, 4, 8], encoder_hidden_states: [6, 589, 64] })
  expect(heldBytes([t5, transformer], longer)).toBe(4 * (6 * 16 * 4 * 8 + 6 * 589 * 64))
})
