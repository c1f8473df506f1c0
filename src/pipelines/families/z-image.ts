/** ZImagePipeline: Z-Image and Z-Image-Turbo. Mirrors diffusers' class of that name, and with `image` its Img2Img class. */

import { CheckpointError } from '../../errors.js'
import { AutoencoderKL } from '../../models/autoencoders/autoencoder-kl.js'
import { AutoencoderTiny } from '../../models/autoencoders/autoencoder-tiny.js'
import { maskingPadding } from '../../models/text-encoders/encoder-variants.js'
import { qwen3TextEncoders } from '../../models/text-encoders/qwen3-model.js'
import { ZImageTransformer2DModel, zImageSequenceLength } from '../../models/transformers/transformer-z-image.js'
import { paddedLength } from '../../models/transformers/z-image-tokens.js'
import { torchLinspace } from '../../schedulers/noise-schedule.js'
import { Qwen2Tokenizer } from '../../tokenizers/qwen2-tokenizer.js'
import { dynamicShift } from './dynamic-shift.js'
import type { PipelineFamily } from '../generation/pipeline-family.js'
import { assembleBatch, type EncodeCall, type EncodedPrompt } from '../prompts/prompt-embeds.js'
import { textEncoderOf, type LoadedTextEncoder } from '../prompts/text-encoders.js'
import { shiftedLatents } from '../images/latent-scaling.js'
import { flux } from './flux.js'

export const zImage: PipelineFamily = {
  className: 'ZImagePipeline',
  savedAs: ['ZImageImg2ImgPipeline', 'ZImageInpaintPipeline'],
  label: 'Z-Image',
  previewDecoder: 'madebyollin/taef1',
  networks: {
    // Only the second-to-last hidden state is used, so the last layer is neither written nor loaded.
    text_encoder: qwen3TextEncoders([-2]).map(maskingPadding),
    transformer: [ZImageTransformer2DModel],
    vae: [AutoencoderKL, AutoencoderTiny],
  },
  tokenizers: { tokenizer: [Qwen2Tokenizer] },
  optional: [],
  ignored: {},
  defaults: { numInferenceSteps: 50, guidanceScale: 5, maxSequenceLength: zImageSequenceLength },
  imageToImage: { strength: 0.6, partialStepRuns: true },
  guidance: 'classifier-free',
  // The formula is pos + scale · (pos − neg), so a scale of 0 is no guidance.
  guidanceOffset: 1,
  promptWidths: ({ text_encoder: encoder }) => encoder && { hidden: encoder.hidden, pooled: null },
  rescalesGuidance: false,
  limitsGuidance: true,
  scheduler: {
    setsBeginIndex: true,
    shift: (tokens, config) => dynamicShift(tokens, config, 1.15),
    sigmas: (steps) => [...torchLinspace(1, 1 / steps, steps)],
  },
  latentScales: shiftedLatents,
  latentStatistics: ['shift_factor'],
  // Z-Image has FLUX.1's autoencoder.
  preview: flux.preview,

  promptEncoder(parts, hosts) {
    const encoder = textEncoderOf(parts, hosts, 'text_encoder', 'tokenizer')
    if (encoder === null)
      throw new CheckpointError('component-missing', 'The pipeline needs its text encoder, but has none.', {
        component: 'text_encoder',
      })
    return {
      check: () => {},
      encode: async (prompt, { negativePrompt = '', maxSequenceLength = zImageSequenceLength }, guided, call) => ({
        positive: await encodeChat(encoder, prompt, maxSequenceLength, call),
        negative: guided ? await encodeChat(encoder, negativePrompt, maxSequenceLength, call) : null,
      }),
    }
  },

  condition: ({ device, prompts, count, denoiser }) => {
    // Zero-pads the embeddings to a rounded length, so few prompts need a new graph. The transformer replaces the zeros by its padding.
    const embeds = prompts.map(({ embeds: { dims, parts } }) => {
      const [tokens = 0, width = 0] = dims
      return { dims: [paddedLength(tokens), width], parts }
    })
    return { encoder_hidden_states: assembleBatch(device, embeds, count, denoiser.name) }
  },
}

/** diffusers' `_encode_prompt`: the hidden states of the tokens of a chat, without padding. */
async function encodeChat(
  encoder: LoadedTextEncoder,
  prompt: string,
  maxSequenceLength: number,
  call: EncodeCall,
): Promise<EncodedPrompt> {
  const text = encoder.chat(prompt, { enableThinking: true })
  // Attention is causal and the padding is masked, so the length of the padding changes nothing.
  const { hidden, tokens, first } = await encoder.encode(text, call, {
    maxSequenceLength,
    lengthMultiple: 32,
  })
  const width = hidden.dims[2] ?? 0
  return {
    embeds: { dims: [tokens, width], parts: [{ tensor: hidden, at: [0, 0], from: [0, first, 0], size: [1, tokens, width] }] },
    pooled: null,
  }
}
