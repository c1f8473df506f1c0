/** The page of the parity harness: runs a fixture's case through the public API alone and hands its tensors to the runner. */
import { DiffusionPipeline, type CapturedTensorName, type GenerateOptions } from '../../src/index.js'
import type { ParityCase, ParitySettings, TransferredTensor } from './protocol.js'

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
}

window.runParityCase = async (settings, item) => {
  const { variant, scheduler_config: schedulerConfig, ...extra } = item.extra ?? {}
  const pipeline = await DiffusionPipeline.fromPretrained(settings.repo, {
    endpoint: settings.endpoint,
    device: settings.device,
    dtype: settings.dtype,
    offload: settings.offload,
    ...(typeof variant === 'string' ? { variant } : item.dtype === 'float16' ? { variant: 'fp16' } : {}),
    ...componentsWithout(settings, extra),
  })
  try {
    const { captured } = await pipeline.generate(item.prompt, {
      ...optional('prompt2', item.prompt_2),
      ...optional('negativePrompt', item.negative_prompt),
      ...Object.fromEntries(Object.entries(extra).map(([key, value]) => [extraOption(key), value])),
      numInferenceSteps: item.num_inference_steps,
      guidanceScale: item.guidance_scale,
      width: item.width,
      height: item.height,
      seed: item.seed,
      ...(item.scheduler == null
        ? {}
        : { scheduler: { className: item.scheduler, config: schedulerConfig as Record<string, unknown> | undefined } }),
      capture,
    })
    const tensors: Record<string, TransferredTensor> = {}
    for (const [name, tensor] of Object.entries(captured ?? {})) {
      tensors[name] = {
        dims: tensor.dims,
        base64: toBase64(new Uint8Array(tensor.data.buffer, tensor.data.byteOffset, tensor.data.byteLength)),
      }
    }
    return tensors
  } finally {
    await pipeline.dispose()
  }
}

function extraOption(key: string): string {
  const option = extras[key]
  if (option === undefined) throw new Error(`The parity harness does not know extra.${key}`)
  return option
}

function componentsWithout(_settings: ParitySettings, extra: Record<string, unknown>): { components?: Record<string, null> } {
  const without = extra['without']
  delete extra['without']
  return Array.isArray(without) ? { components: Object.fromEntries(without.map((name) => [String(name), null])) } : {}
}

function optional<K extends string, T>(key: K, value: T | null | undefined): { [key in K]?: T } {
  return (value === null || value === undefined ? {} : { [key]: value }) as { [key in K]?: T }
}

function toBase64(bytes: Uint8Array): string {
  let binary = ''
  for (let begin = 0; begin < bytes.length; begin += 0x8000)
    binary += String.fromCharCode(...bytes.subarray(begin, begin + 0x8000))
  return btoa(binary)
}
