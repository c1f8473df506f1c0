/** Messages about repositories that hold no pipeline. */

import { expect, it } from 'vitest'
import { explainMissingIndex } from './not-a-pipeline.js'

it.each([
  [[], 'it has no files at all'],
  [['README.md'], "it is no repository in diffusers' layout"],
  [['sd15/model_index.json', 'sdxl/model_index.json'], 'in its folders sd15, sdxl: choose one of them, or give its address'],
  [
    ['My Model (1)/tiny/model_index.json'],
    'A pipeline is in its folder "My Model (1)/tiny": choose that folder, or give its address',
  ],
  [['adapter_config.json', 'adapter_model.safetensors'], 'a LoRA adapter (adapter_config.json)'],
  [['pytorch_lora_weights.safetensors'], 'a LoRA adapter (pytorch_lora_weights.safetensors)'],
  [['config.json', 'diffusion_pytorch_model.safetensors'], 'one model and no pipeline'],
  [['sd-Q4_0.gguf'], 'GGUF files (sd-Q4_0.gguf)'],
  [['v1-5-pruned.ckpt', 'README.md'], 'a checkpoint in a single file (v1-5-pruned.ckpt)'],
] as const)('the error for a repository of the files %j says what it holds', (paths, words) => {
  const message = explainMissingIndex('me/x', paths)
  expect(message).toMatch(/^me\/x has no model_index\.json.*\.$/)
  expect(message).toContain(words)
})
