/**
 * StableDiffusionXLPipeline: Stable Diffusion XL and its descendants. Mirrors diffusers' class of that name, and with `image` its
 * StableDiffusionXLImg2ImgPipeline.
 */

import { CheckpointError } from '../../errors.js'
import { AutoencoderKL } from '../../models/autoencoders/autoencoder-kl.js'
import { AutoencoderTiny } from '../../models/autoencoders/autoencoder-tiny.js'
import { CLIPTextModel, CLIPTextModelWithProjection } from '../../models/text-encoders/clip-text-model.js'
import { UNet2DConditionModel, unetTimeIdEmbeds } from '../../models/unets/unet-2d-condition.js'
import { configOf } from '../bind-network.js'
import type { Value } from '../execution/component-host.js'
import { CLIPTokenizer } from '../../tokenizers/clip-tokenizer.js'
import { standardizedLatents } from '../images/latent-scaling.js'
import type { ConditionCall, PipelineFamily } from '../generation/pipeline-family.js'
import type { Condition } from '../prompts/prompt-embeds.js'
import {
  assembleBatch,
  batchPieces,
  emptyPrompt,
  sideBySide,
  type EncodeCall,
  type EncodedPrompt,
} from '../prompts/prompt-embeds.js'
import { float32Tensor } from '../tensors.js'
import { isTruthy } from '../../util/truthy.js'
import { checkClipSkip, textEncoderOf, type EncodeTextOptions, type LoadedTextEncoder } from '../prompts/text-encoders.js'

export const stableDiffusionXL: PipelineFamily = {
  className: 'StableDiffusionXLPipeline',
  savedAs: ['StableDiffusionXLImg2ImgPipeline', 'StableDiffusionXLInpaintPipeline'],
  label: 'Stable Diffusion XL',
  previewDecoder: 'madebyollin/taesdxl',
  networks: {
    text_encoder: [CLIPTextModel],
    text_encoder_2: [CLIPTextModelWithProjection],
    unet: [UNet2DConditionModel],
    vae: [AutoencoderKL, AutoencoderTiny],
  },
  tokenizers: { tokenizer: [CLIPTokenizer], tokenizer_2: [CLIPTokenizer] },
  optional: ['text_encoder', 'feature_extractor', 'image_encoder'],
  ignored: {
    feature_extractor: 'It is not used without an image prompt.',
    image_encoder: 'It is not used without an image prompt.',
  },
  defaults: { numInferenceSteps: 50, guidanceScale: 5 },
  imageToImage: { strength: 0.3, partialStepRuns: false },
  guidance: 'classifier-free',
  promptWidths: ({ text_encoder: first, text_encoder_2: second }) =>
    second && { hidden: (first?.hidden ?? 0) + second.hidden, pooled: second.pooled },
  rescalesGuidance: true,
  takesSizes: true,
  scheduler: { setsBeginIndex: true },
  latentScales: standardizedLatents,
  latentStatistics: ['latents_mean', 'latents_std'],
  preview: {
    channels: [
      [0.3651, 0.4232, 0.4341],
      [-0.2533, -0.0042, 0.1068],
      [0.1076, 0.1111, -0.0362],
      [-0.3165, -0.2492, -0.2188],
    ],
    bias: [0.1084, -0.0175, -0.0011],
  },

  promptEncoder(parts, hosts) {
    const encoders = ['', '_2'].flatMap(
      (suffix) => textEncoderOf(parts, hosts, `text_encoder${suffix}`, `tokenizer${suffix}`) ?? [],
    )
    const forceZeros = isTruthy(parts.layout.options['force_zeros_for_empty_prompt'], true)
    return {
      weighted: encoders,
      check: ({ clipSkip }) => {
        for (const encoder of encoders) checkClipSkip(clipSkip, encoder.layers)
      },
      // `clipSkip` applies to the prompt, not to the negative prompt.
      encode: async (prompt, { clipSkip, negativePrompt, prompt2, negativePrompt2 }, guided, call) => {
        const hiddenStates = clipSkip === undefined ? undefined : [{ index: -(clipSkip + 2), finalLayerNorm: false }]
        const positive = await encodeTexts(encoders, [prompt, prompt2 ?? prompt], call, { hiddenStates })
        if (!guided) return { positive, negative: null }
        // With `force_zeros_for_empty_prompt`, an absent negative prompt becomes zeros. An empty negative prompt is encoded.
        if (negativePrompt === undefined && forceZeros) return { positive, negative: emptyPrompt(positive) }
        const first = negativePrompt ?? ''
        return { positive, negative: await encodeTexts(encoders, [first, negativePrompt2 ?? first], call, {}) }
      },
    }
  },

  condition: timeIdCondition,
}

/** Each encoder's hidden state side by side (the penultimate one unless `options` names another), and the first pooled vector. */
async function encodeTexts(
  encoders: readonly LoadedTextEncoder[],
  texts: readonly [string, string],
  call: EncodeCall,
  options: EncodeTextOptions,
): Promise<EncodedPrompt> {
  const hidden: Value[] = []
  let first: Value | null = null
  for (const [i, encoder] of encoders.entries()) {
    const encoding = await encoder.encode(texts[i] ?? texts[0], call, options)
    hidden.push(encoding.hidden)
    first ??= encoding.pooled
  }
  if (first === null)
    throw new CheckpointError('component-missing', 'No text encoder has a pooled output.', { component: 'text_encoder_2' })
  return { embeds: sideBySide(hidden), pooled: sideBySide([first]) }
}

/** The condition of SDXL: the prompt embeddings, the pooled embeddings, and the sizes as time ids. */
function timeIdCondition({
  denoiser,
  device,
  prompts,
  guided,
  options,
  size: { height, width },
  count,
}: ConditionCall): Condition {
  const size = [height, width] as const
  const { originalSize = size, targetSize = size, cropsCoordsTopLeft = [0, 0] as const } = options
  const { negativeOriginalSize, negativeTargetSize, negativeCropsCoordsTopLeft = [0, 0] as const } = options
  const timeIds = [...originalSize, ...cropsCoordsTopLeft, ...targetSize]
  let negativeTimeIds = timeIds
  // diffusers' classes differ. With an image, a missing negative size is the prompt's, and the crop is always the prompt's. Without an
  // image, negative values are used only if both sizes are given.
  if (options.image !== undefined)
    negativeTimeIds = [...(negativeOriginalSize ?? originalSize), ...cropsCoordsTopLeft, ...(negativeTargetSize ?? targetSize)]
  else if (negativeOriginalSize !== undefined && negativeTargetSize !== undefined)
    negativeTimeIds = [...negativeOriginalSize, ...negativeCropsCoordsTopLeft, ...negativeTargetSize]
  const batch = prompts.length * count
  const images = guided ? batch / 2 : batch
  const repeat = (rows: readonly number[]) => Array.from({ length: images }, () => rows).flat()
  let repeated = repeat(timeIds)
  if (guided && options.image !== undefined) repeated = [...repeat(negativeTimeIds), ...repeated]
  // Without an image, diffusers repeats the negative and the positive row as a pair, so with several images they alternate.
  else if (guided) repeated = repeat([...negativeTimeIds, ...timeIds])
  const pooled = prompts.flatMap((one) => one.pooled ?? [])
  const [pooledWidth = 0] = pooled[0]?.dims ?? []
  const times = unetTimeIdEmbeds(configOf(denoiser, UNet2DConditionModel), repeated, batch, pooledWidth)
  const timeWidth = times.length / batch
  const pieces = [...batchPieces(pooled, count), { tensor: float32Tensor([batch, timeWidth], times), at: [0, pooledWidth] }]
  const embeds = prompts.map((one) => one.embeds)
  return {
    encoder_hidden_states: assembleBatch(device, embeds, count, denoiser.name),
    add_embeds: device.assemble(pieces, [batch, pooledWidth + timeWidth], denoiser.name),
  }
}
