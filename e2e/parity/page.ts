/** The page of the parity harness: runs a fixture's case through the public API alone and hands its tensors to the runner. */
import { DiffusionPipeline, type CapturedTensorName, type GenerateOptions, type SchedulerReference } from '../../src/index.js'
import type { ParityCase, TransferredTensor } from './protocol.js'

const capture: CapturedTensorName[] = [
  'prompt_embeds',
  'negative_prompt_embeds',
  'pooled_prompt_embeds',
  'negative_pooled_prompt_embeds',
  'initial_latents',
  'timesteps',
  'noise_pred',
  'latents',
  'image',
]

/** The keys of `extra` and the option of `generate` that each one is. */
const extras: Readonly<Record<string, keyof GenerateOptions>> = {
  clip_skip: 'clipSkip',
  eta: 'eta',
  original_size: 'originalSize',
  crops_coords_top_left: 'cropsCoordsTopLeft',
  target_size: 'targetSize',
  negative_original_size: 'negativeOriginalSize',
  negative_crops_coords_top_left: 'negativeCropsCoordsTopLeft',
  negative_target_size: 'negativeTargetSize',
  guidance_rescale: 'guidanceRescale',
  num_images_per_prompt: 'numImagesPerPrompt',
  negative_prompt_2: 'negativePrompt2',
  prompt_3: 'prompt3',
  negative_prompt_3: 'negativePrompt3',
  max_sequence_length: 'maxSequenceLength',
  skip_guidance_layers: 'skipGuidanceLayers',
  skip_layer_guidance_scale: 'skipLayerGuidanceScale',
  skip_layer_guidance_start: 'skipLayerGuidanceStart',
  skip_layer_guidance_stop: 'skipLayerGuidanceStop',
}

/** Keys of `extra` that are no argument of the call: they choose what is loaded. */
const loading = new Set(['variant', 'scheduler_config', 'text_encoder_3', 'tokenizer_3'])

window.runParityCase = async (settings, item) => {
  const extra = Object.entries(item.extra ?? {})
  const left = extra.filter(([key, value]) => value === null && loading.has(key)).map(([key]) => [key, null] as const)
  const variant = item.extra?.['variant']
  const pipeline = await DiffusionPipeline.fromPretrained(settings.repo, {
    endpoint: settings.endpoint,
    device: settings.device,
    dtype: settings.dtype,
    offload: settings.offload,
    ...(typeof variant === 'string' ? { variant } : {}),
    ...(left.length > 0 ? { components: Object.fromEntries(left) } : {}),
  })
  try {
    const scheduler = schedulerOf(item, pipeline.info.scheduler.className)
    const { captured } = await pipeline.generate(item.prompt, {
      ...optional('prompt2', item.prompt_2),
      ...optional('negativePrompt', item.negative_prompt),
      ...Object.fromEntries(extra.filter(([key]) => !loading.has(key)).map(([key, value]) => [extraOption(key), value])),
      numInferenceSteps: item.num_inference_steps,
      guidanceScale: item.guidance_scale,
      width: item.width,
      height: item.height,
      seed: item.seed,
      ...(scheduler === undefined ? {} : { scheduler }),
      capture,
    })
    return Object.fromEntries(Object.entries(captured ?? {}).map(([name, tensor]) => [name, transfer(tensor)]))
  } finally {
    await pipeline.dispose()
  }
}

/** The case's scheduler: another class, or the repository's with other keys, or undefined for the repository's as it is. */
function schedulerOf(item: ParityCase, own: string): SchedulerReference | undefined {
  const config = item.extra?.['scheduler_config'] as Record<string, unknown> | undefined
  const className = item.scheduler ?? undefined
  if (className === undefined && config === undefined) return undefined
  return { className: className ?? own, config }
}

function extraOption(key: string): string {
  const option = extras[key]
  if (option === undefined) throw new Error(`The parity harness does not know extra.${key}`)
  return option
}

function optional<K extends string, T>(key: K, value: T | null | undefined): { [key in K]?: T } {
  return (value === null || value === undefined ? {} : { [key]: value }) as { [key in K]?: T }
}

function transfer(tensor: { readonly dims: readonly number[]; readonly data: Float32Array }): TransferredTensor {
  const bytes = new Uint8Array(tensor.data.buffer, tensor.data.byteOffset, tensor.data.byteLength)
  let binary = ''
  for (let begin = 0; begin < bytes.length; begin += 0x8000)
    binary += String.fromCharCode(...bytes.subarray(begin, begin + 0x8000))
  return { dims: tensor.dims, base64: btoa(binary) }
}
