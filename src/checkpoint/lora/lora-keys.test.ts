import { expect, test } from 'vitest'
import { ldmLayers } from './ldm-layers.js'
import { layerNames, parseLoraKey } from './lora-keys.js'

const attn = 'down_blocks.0.attentions.0.transformer_blocks.0.attn1'
const flat = 'down_blocks_0_attentions_0_transformer_blocks_0_attn1'

test.each([
  [`unet.${attn}.to_q.lora_A.weight`, 'denoiser', `${attn}.to_q`, 'lora_A'],
  [`base_model.model.${attn}.to_q.lora_B.default.weight`, 'denoiser', `${attn}.to_q`, 'lora_B'],
  [`unet.${attn}.processor.to_q_lora.down.weight`, 'denoiser', `${attn}.to_q`, 'lora_A'],
  [`unet.${attn}.to_out.0.lora.up.weight`, 'denoiser', `${attn}.to_out.0`, 'lora_B'],
  [`lora_unet_${flat}_to_q.lora_up.weight`, 'denoiser', `${flat}_to_q`, 'lora_B'],
  [`lora_unet_${flat}_to_q.alpha`, 'denoiser', `${flat}_to_q`, 'alpha'],
  [`lora_unet_${flat}_to_q.dora_scale`, 'denoiser', `${flat}_to_q`, 'dora-scale'],
  [`lora_unet_${flat}_to_q.hada_w1_a`, 'denoiser', `${flat}_to_q`, 'hada_w1_a'],
  [`lora_unet_${flat}_to_q.hada_t1`, 'denoiser', `${flat}_to_q`, 'other'],
  [`unet.${attn}.to_q.lora_magnitude_vector`, 'denoiser', `${attn}.to_q`, 'lora_magnitude_vector'],
  ['lycoris_transformer_blocks_0_attn_to_q.lokr_w2_b', 'denoiser', 'transformer_blocks_0_attn_to_q', 'lokr_w2_b'],
  ['diffusion_model.double_blocks.0.img_attn.qkv.lora_down.weight', 'denoiser', 'double_blocks.0.img_attn.qkv', 'lora_A'],
  ['double_blocks.3.processor.qkv_lora2.up.weight', 'denoiser', 'double_blocks.3.qkv_lora2', 'lora_B'],
  ['single_blocks.3.processor.proj_lora.down.weight', 'denoiser', 'single_blocks.3.proj', 'lora_A'],
  ['diffusion_model.layers.0.attention.to.q.lora.down.weight', 'denoiser', 'layers.0.attention.to.q', 'lora_A'],
  ['lora_unet_double_blocks_0_img_attn_proj.diff_b', 'denoiser', 'double_blocks_0_img_attn_proj', 'ignored'],
  ['lora_unet_double_blocks_0_img_attn_proj.diff', 'denoiser', 'double_blocks_0_img_attn_proj', 'other'],
  [`lora_unet_${flat}_to_q.weight`, 'denoiser', `${flat}_to_q`, 'other'],
  [
    'text_encoders.clip_l.transformer.text_model.encoder.layers.0.mlp.fc1.lora_up.weight',
    'text_encoder',
    'text_model.encoder.layers.0.mlp.fc1',
    'lora_B',
  ],
  [
    'transformer.transformer_blocks.0.attn.add_q_proj.lora_A.weight',
    'denoiser',
    'transformer_blocks.0.attn.add_q_proj',
    'lora_A',
  ],
  [
    'text_encoder.text_model.encoder.layers.1.mlp.fc1.lora_linear_layer.down.weight',
    'text_encoder',
    'text_model.encoder.layers.1.mlp.fc1',
    'lora_A',
  ],
  ['lora_te1_text_model_encoder_layers_0_mlp_fc2.alpha', 'text_encoder', 'text_model_encoder_layers_0_mlp_fc2', 'alpha'],
  ['lora_te2_text_projection.lora_down.weight', 'text_encoder_2', 'text_projection', 'lora_A'],
])('the component, layer and factor are read from the tensor name %s', (name, component, layer, part) => {
  expect(parseLoraKey(name)).toEqual({ component, layer, part })
})

test('a tensor of a checkpoint is no part of a LoRA', () => {
  expect(parseLoraKey('model.diffusion_model.out.2.weight')).toBeUndefined()
})

test('layers with names of old releases are looked up under their current names', () => {
  expect(layerNames('attn1.to_out')).toContain('attn1_to_out_0')
  expect(layerNames('encoder.layers.0.self_attn.to_q')).toContain('text_model_encoder_layers_0_self_attn_q_proj')
})

test.each([
  ['conv_in', ['input_blocks.0.0']],
  ['down_blocks.1.attentions.0.proj_in', ['input_blocks.4.1.proj_in']],
  ['down_blocks.0.downsamplers.0.conv', ['input_blocks.3.0.op']],
  ['mid_block.attentions.0.transformer_blocks.3.ff.net.2', ['middle_block.1.transformer_blocks.3.ff.net.2']],
  ['mid_block.resnets.1.conv2', ['middle_block.2.out_layers.3']],
  ['up_blocks.0.resnets.2.time_emb_proj', ['output_blocks.2.0.emb_layers.1']],
  ['up_blocks.0.upsamplers.0.conv', ['output_blocks.2.1.conv', 'output_blocks.2.2.conv']],
  ['encoder.layers.0', []],
])('the layer %s is found under its names in latent-diffusion', (layer, names) => {
  expect(ldmLayers(layer, 2)).toEqual(names)
})
