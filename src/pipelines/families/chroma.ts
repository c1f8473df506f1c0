/**
 * ChromaPipeline: Chroma1-HD and -Base. Mirrors diffusers' class of that name, and with `image` its Img2Img class. T5 encodes the prompt
 * without its padding; the transformer takes a mask that is 1 for the text and for one token of padding.
 */

import { CheckpointError, InputError } from '../../errors.js'
import { AutoencoderKL } from '../../models/autoencoders/autoencoder-kl.js'
import { AutoencoderTiny } from '../../models/autoencoders/autoencoder-tiny.js'
import { maskingPadding } from '../../models/text-encoders/encoder-variants.js'
import { T5EncoderModel } from '../../models/text-encoders/t5-encoder-model.js'
import { fluxSequenceLength } from '../../models/transformers/flux-parts.js'
import { ChromaTransformer2DModel } from '../../models/transformers/transformer-chroma.js'
import { T5Tokenizer } from '../../tokenizers/t5-tokenizer.js'
import { dynamicShift } from './dynamic-shift.js'
import type { PipelineFamily } from '../generation/pipeline-family.js'
import { assembleBatch, sideBySide, type EncodeCall, type EncodedPrompt } from '../prompts/prompt-embeds.js'
import { textEncoderOf, type LoadedTextEncoder } from '../prompts/text-encoders.js'
import { float32Tensor } from '../tensors.js'
import { flux } from './flux.js'

export const chroma: PipelineFamily = {
  className: 'ChromaPipeline',
  savedAs: ['ChromaImg2ImgPipeline', 'ChromaInpaintPipeline'],
  label: 'Chroma',
  previewDecoder: 'madebyollin/taef1',
  networks: {
    text_encoder: [maskingPadding(T5EncoderModel)],
    transformer: [ChromaTransformer2DModel],
    vae: [AutoencoderKL, AutoencoderTiny],
  },
  tokenizers: { tokenizer: [T5Tokenizer] },
  optional: ['image_encoder', 'feature_extractor'],
  ignored: flux.ignored,
  defaults: { numInferenceSteps: 35, guidanceScale: 5, maxSequenceLength: fluxSequenceLength },
  imageToImage: { strength: 0.9, partialStepRuns: true },
  roundsSize: true,
  guidance: 'classifier-free',
  promptWidths: ({ text_encoder: t5 }) => t5 && { hidden: t5.hidden, pooled: null },
  rescalesGuidance: false,
  scheduler: {
    setsBeginIndex: true,
    shift: (tokens, config) => dynamicShift(tokens, config, 1.15),
    sigmas: flux.scheduler?.sigmas,
  },
  latentScales: flux.latentScales,
  latentStatistics: flux.latentStatistics,
  preview: flux.preview,

  promptEncoder(parts, hosts) {
    const t5 = textEncoderOf(parts, hosts, 'text_encoder', 'tokenizer')
    if (t5 === null)
      throw new CheckpointError('component-missing', 'The pipeline needs its text encoder, but has none.', {
        component: 'text_encoder',
      })
    return {
      check: () => {},
      encode: async (prompt, { negativePrompt = '', maxSequenceLength = fluxSequenceLength }, guided, call) => ({
        positive: await encodeMasked(t5, prompt, maxSequenceLength, call),
        negative: guided ? await encodeMasked(t5, negativePrompt, maxSequenceLength, call) : null,
      }),
    }
  },

  condition: ({ device, prompts, count, denoiser }) => ({
    encoder_hidden_states: assembleBatch(
      device,
      prompts.map(({ embeds }) => embeds),
      count,
      denoiser.name,
    ),
    attention_mask: assembleBatch(
      device,
      prompts.flatMap(({ mask }) => mask ?? []),
      count,
      denoiser.name,
    ),
  }),

  check: ({ promptEmbeds, promptAttentionMask, negativePromptEmbeds, negativePromptAttentionMask }) => {
    for (const [name, embeds, mask] of [
      ['promptAttentionMask', promptEmbeds, promptAttentionMask],
      ['negativePromptAttentionMask', negativePromptEmbeds, negativePromptAttentionMask],
    ] as const) {
      if (embeds !== undefined && mask === undefined)
        throw new InputError('prompt-embeds', `Embeddings are given without ${name}; ChromaPipeline needs both.`, { name })
    }
  },
}

/** diffusers' `_get_t5_prompt_embeds`. */
async function encodeMasked(
  encoder: LoadedTextEncoder,
  text: string,
  maxSequenceLength: number,
  call: EncodeCall,
): Promise<EncodedPrompt> {
  const options = { output: 'last_hidden_state', maxSequenceLength } as const
  const { hidden, tokens } = await encoder.encode(text, call, options)
  const length = hidden.dims[1] ?? 0
  // The mask is also 1 for the first token of padding.
  const mask = float32Tensor([1, length], new Float32Array(length).fill(1, 0, tokens + 1))
  return { embeds: sideBySide([hidden]), pooled: null, mask: { dims: [length], parts: [{ tensor: mask, at: [0] }] } }
}
