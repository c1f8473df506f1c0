/** StableDiffusion3Pipeline: Stable Diffusion 3 and 3.5. Mirrors diffusers' class of that name, and with `image` its Img2Img class. */

import { CheckpointError } from '../../errors.js'
import { AutoencoderKL } from '../../models/autoencoders/autoencoder-kl.js'
import { AutoencoderTiny } from '../../models/autoencoders/autoencoder-tiny.js'
import { CLIPTextModelWithProjection } from '../../models/text-encoders/clip-text-model.js'
import { T5EncoderModel } from '../../models/text-encoders/t5-encoder-model.js'
import { SD3Transformer2DModel } from '../../models/transformers/transformer-sd3.js'
import { defaultMaxSequenceLength } from '../../models/types.js'
import { CLIPTokenizer } from '../../tokenizers/clip-tokenizer.js'
import { T5Tokenizer } from '../../tokenizers/t5-tokenizer.js'
import { shiftedLatents } from '../images/latent-scaling.js'
import { dynamicShift } from './dynamic-shift.js'
import type { PipelineFamily } from '../generation/pipeline-family.js'
import { assembleBatch, sideBySide, type EncodeCall, type EncodedPrompt } from '../prompts/prompt-embeds.js'
import { checkSkipLayers, skipLayerGuidance } from '../generation/skip-layer-guidance.js'
import { checkClipSkip, textEncoderOf, type EncodeTextOptions, type LoadedTextEncoder } from '../prompts/text-encoders.js'

const imagePrompt = 'It is not used without an image prompt.'

export const stableDiffusion3: PipelineFamily = {
  className: 'StableDiffusion3Pipeline',
  savedAs: ['StableDiffusion3Img2ImgPipeline', 'StableDiffusion3InpaintPipeline'],
  label: 'Stable Diffusion 3',
  previewDecoder: 'madebyollin/taesd3',
  networks: {
    text_encoder: [CLIPTextModelWithProjection],
    text_encoder_2: [CLIPTextModelWithProjection],
    text_encoder_3: [T5EncoderModel],
    transformer: [SD3Transformer2DModel],
    vae: [AutoencoderKL, AutoencoderTiny],
  },
  tokenizers: { tokenizer: [CLIPTokenizer], tokenizer_2: [CLIPTokenizer], tokenizer_3: [T5Tokenizer] },
  optional: ['text_encoder_3', 'image_encoder', 'feature_extractor'],
  ignored: { image_encoder: imagePrompt, feature_extractor: imagePrompt },
  defaults: { numInferenceSteps: 28, guidanceScale: 7, maxSequenceLength: defaultMaxSequenceLength },
  imageToImage: { strength: 0.6, partialStepRuns: true, defaults: { numInferenceSteps: 50 } },
  guidance: 'classifier-free',
  // The CLIPs' hidden states are padded to T5's width, or without a T5 to the transformer's.
  promptWidths: ({ text_encoder: first, text_encoder_2: second, text_encoder_3: t5 }, own) =>
    first &&
    second && {
      hidden: Math.max(first.hidden + second.hidden, t5?.hidden ?? own),
      pooled: (first.pooled ?? 0) + (second.pooled ?? 0),
    },
  rescalesGuidance: false,
  scheduler: { shift: (tokens, config) => dynamicShift(tokens, config, 1.16) },
  latentScales: shiftedLatents,
  latentStatistics: ['shift_factor'],
  preview: {
    channels: [
      [-0.0922, -0.0175, 0.0749],
      [0.0311, 0.0633, 0.0954],
      [0.1994, 0.0927, 0.0458],
      [0.0856, 0.0339, 0.0902],
      [0.0587, 0.0272, -0.0496],
      [-0.0006, 0.1104, 0.0309],
      [0.0978, 0.0306, 0.0427],
      [-0.0042, 0.1038, 0.1358],
      [-0.0194, 0.002, 0.0669],
      [-0.0488, 0.013, -0.0268],
      [0.0922, 0.0988, 0.0951],
      [-0.0278, 0.0524, -0.0542],
      [0.0332, 0.0456, 0.0895],
      [-0.0069, -0.003, -0.081],
      [-0.0596, -0.0465, -0.0293],
      [-0.1448, -0.1463, -0.1189],
    ],
    bias: [0.2394, 0.2135, 0.1925],
  },
  check: (options, { skippableLayers }) => checkSkipLayers(options, skippableLayers),
  refine: skipLayerGuidance,

  promptEncoder(parts, hosts, denoiser) {
    const encoder = (suffix: string) => textEncoderOf(parts, hosts, `text_encoder${suffix}`, `tokenizer${suffix}`)
    const [first, second] = [encoder(''), encoder('_2')]
    if (first === null || second === null)
      throw new CheckpointError('component-missing', 'The pipeline needs both CLIP text encoders, but one is missing.', {
        component: 'text_encoder',
      })
    const encoders: TextEncoders = { clips: [first, second], t5: encoder('_3'), width: denoiser.model.contextWidth }
    return {
      weighted: encoders.clips,
      check: ({ clipSkip }) => {
        for (const encoder of encoders.clips) checkClipSkip(clipSkip, encoder.layers)
      },
      // `clipSkip` applies to the prompt, not to the negative prompt.
      encode: async (prompt, options, guided, call) => {
        const { clipSkip, maxSequenceLength: length = defaultMaxSequenceLength, prompt2, prompt3 } = options
        const { negativePrompt = '', negativePrompt2, negativePrompt3 } = options
        const hiddenStates = clipSkip === undefined ? undefined : [{ index: -(clipSkip + 2), finalLayerNorm: false }]
        const negative = [negativePrompt, negativePrompt2 ?? negativePrompt, negativePrompt3 ?? negativePrompt] as const
        return {
          positive: await encodeTexts(encoders, [prompt, prompt2 ?? prompt, prompt3 ?? prompt], length, call, { hiddenStates }),
          negative: guided ? await encodeTexts(encoders, negative, length, call, {}) : null,
        }
      },
    }
  },

  condition: ({ device, prompts, count, denoiser }) => {
    const embeds = prompts.map((one) => one.embeds)
    const pooled = prompts.flatMap((one) => one.pooled ?? [])
    return {
      encoder_hidden_states: assembleBatch(device, embeds, count, denoiser.name),
      pooled_projections: assembleBatch(device, pooled, count, denoiser.name),
    }
  },
}

interface TextEncoders {
  readonly clips: readonly [LoadedTextEncoder, LoadedTextEncoder]
  readonly t5: LoadedTextEncoder | null
  /** The width of the denoiser's context, which the embeddings have if there is no T5. */
  readonly width: number
}

/** The tokens of both CLIPs, with hidden states side by side and padded to T5's width, followed by T5's tokens (zeros without a T5). */
async function encodeTexts(
  { clips, t5, width }: TextEncoders,
  [first, second, third]: readonly [string, string, string],
  length: number,
  call: EncodeCall,
  clipOptions: EncodeTextOptions,
): Promise<EncodedPrompt> {
  const one = await clips[0].encode(first, call, clipOptions)
  const two = await clips[1].encode(second, call, clipOptions)
  if (one.pooled === null || two.pooled === null)
    throw new CheckpointError('component-missing', 'A CLIP text encoder has no pooled output.', { component: 'text_encoder' })
  const below = await t5?.encode(third, call, { output: 'last_hidden_state', maxSequenceLength: length })
  const clip = sideBySide([one.hidden, two.hidden])
  const [tokens = 0, clipWidth = 0] = clip.dims
  return {
    embeds: {
      dims: [tokens + length, Math.max(clipWidth, below?.hidden.dims[2] ?? width)],
      parts: [...clip.parts, ...(below === undefined ? [] : [{ tensor: below.hidden, at: [tokens, 0] }])],
    },
    pooled: sideBySide([one.pooled, two.pooled]),
  }
}
