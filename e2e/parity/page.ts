/** The page of the parity test: runs a fixture's case through the public API alone, and returns its tensors to the runner. */
import { DiffusionPipeline, type CapturedTensorName } from '../../src/index.js'
import { caseLoading, caseOptions } from '../../src/pipelines/testing-cases.js'
import type { TransferredTensor } from './protocol.js'

const capture: CapturedTensorName[] = [
  'prompt_embeds',
  'negative_prompt_embeds',
  'pooled_prompt_embeds',
  'negative_pooled_prompt_embeds',
  'prompt_attention_mask',
  'negative_prompt_attention_mask',
  'initial_latents',
  'timesteps',
  'noise_pred',
  'latents',
  'image',
]

window.runParityCase = async (settings, item) => {
  const pipeline = await DiffusionPipeline.fromPretrained(settings.repo, {
    endpoint: settings.endpoint,
    device: settings.device,
    dtype: settings.dtype,
    offload: settings.offload,
    ...caseLoading(item),
  })
  try {
    const { captured } = await pipeline.generate(item.prompt, {
      ...caseOptions(item, pipeline.info.scheduler.className),
      capture,
    })
    return Object.fromEntries(Object.entries(captured ?? {}).map(([name, tensor]) => [name, transfer(tensor)]))
  } finally {
    await pipeline.dispose()
  }
}

function transfer(tensor: { readonly dims: readonly number[]; readonly data: Float32Array }): TransferredTensor {
  const bytes = new Uint8Array(tensor.data.buffer, tensor.data.byteOffset, tensor.data.byteLength)
  let binary = ''
  for (let begin = 0; begin < bytes.length; begin += 0x8000)
    binary += String.fromCharCode(...bytes.subarray(begin, begin + 0x8000))
  return { dims: tensor.dims, base64: btoa(binary) }
}
