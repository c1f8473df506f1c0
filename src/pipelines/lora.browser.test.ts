/**
 * A LoRA on WebGPU, with weights and factors that are streamed block by block: it makes what onnxruntime's CPU kernels make, which
 * lora.parity.test.ts compares with diffusers.
 */

import { expect, test } from 'vitest'
import kohyaUrl from '../../fixtures/lora/kohya.safetensors?url'
import { memoryRepository } from '../checkpoint/testing.js'
import { shareGpuDevices } from '../runtime/webgpu/testing-shared-gpu.js'
import { loadPipeline } from './diffusion-pipeline.js'
import { relativeError, servedRepository } from './testing.js'
import type { CapturedTensors, LoadPipelineOptions } from './types.js'

shareGpuDevices()

const repository = servedRepository('tiny-sd15', import.meta.glob('../../fixtures/tiny-sd15/repo/**'))

async function generate(options: LoadPipelineOptions): Promise<CapturedTensors> {
  const bytes = new Uint8Array(await (await fetch(kohyaUrl)).arrayBuffer())
  const pipeline = await loadPipeline(repository, options)
  const source = { repository: memoryRepository({ 'a.safetensors': bytes }), path: 'a.safetensors' }
  await pipeline.adapters({ type: 'load', source, options: { scale: 0.7 } })
  const { captured = {}, warnings } = await pipeline.generate('a cute dog', {
    numInferenceSteps: 1,
    width: 64,
    height: 64,
    seed: 1,
    capture: ['prompt_embeds', 'noise_pred'],
  })
  expect(warnings).toEqual([])
  await pipeline.dispose()
  return captured
}

test('beside weights that are streamed block by block, a LoRA gives the same result as on the CPU', async () => {
  const expected = await generate({ device: 'wasm' })
  // Between the least that the UNet needs and what it needs with all weights on the GPU.
  const actual = await generate({ device: 'webgpu', offload: 'block', maxMemory: 34_600_000 })
  for (const [name, values] of Object.entries(expected)) {
    // Both compute in float32; each is within 1e-4 of diffusers.
    expect(relativeError(actual[name], values), name).toBeLessThan(2e-4)
  }
})
