/**
 * Flux2KleinPipeline: FLUX.2-klein, 4B and 9B, distilled and base. Mirrors diffusers' class of that name. Qwen3 encodes the prompt in its chat template; the
 * transformer attends to the padding too. The distilled models ignore the guidance scale.
 */

import { CheckpointError, UnsupportedError } from '../../errors.js'
import { AutoencoderKLFlux2 } from '../../models/autoencoders/autoencoder-kl-flux2.js'
import { maskingPadding } from '../../models/text-encoders/encoder-variants.js'
import { qwen3TextEncoders } from '../../models/text-encoders/qwen3-model.js'
import { fluxSequenceLength } from '../../models/transformers/flux-parts.js'
import { Flux2Transformer2DModel } from '../../models/transformers/transformer-flux2.js'
import { Qwen2Tokenizer } from '../../tokenizers/qwen2-tokenizer.js'
import { isTruthy } from '../../util/truthy.js'
import type { PipelineFamily } from '../generation/pipeline-family.js'
import { assembleBatch, sideBySide, type EncodeCall, type EncodedPrompt } from '../prompts/prompt-embeds.js'
import { textEncoderOf, type LoadedTextEncoder } from '../prompts/text-encoders.js'
import { scaledLatents } from '../images/latent-scaling.js'
import { flux } from './flux.js'

/** diffusers' default of `text_encoder_out_layers`. */
const hiddenStates = [9, 18, 27]

/** Red, green and blue of each latent channel before packing. A preview has one pixel for the mean of the four latent pixels that are packed together. */
const channelColors = [
  [0.0058, 0.0113, 0.0073],
  [0.0495, 0.0443, 0.0836],
  [-0.0099, 0.0096, 0.0644],
  [0.2144, 0.3009, 0.3652],
  [0.0166, -0.0039, -0.0054],
  [0.0157, 0.0103, -0.016],
  [-0.0398, 0.0902, -0.0235],
  [-0.0052, 0.0095, 0.0109],
  [-0.3527, -0.2712, -0.1666],
  [-0.0301, -0.0356, -0.018],
  [-0.0107, 0.0078, 0.0013],
  [0.0746, 0.009, -0.0941],
  [0.0156, 0.0169, 0.007],
  [-0.0034, -0.004, -0.0114],
  [0.0032, 0.0181, 0.008],
  [-0.0939, -0.0008, 0.0186],
  [0.0018, 0.0043, 0.0104],
  [0.0284, 0.0056, -0.0127],
  [-0.0024, -0.0022, -0.003],
  [0.1207, -0.0026, 0.0065],
  [0.0128, 0.0101, 0.0142],
  [0.0137, -0.0072, -0.0007],
  [0.0095, 0.0092, -0.0059],
  [0.0, -0.0077, -0.0049],
  [-0.0465, -0.0204, -0.0312],
  [0.0095, 0.0012, -0.0066],
  [0.029, -0.0034, 0.0025],
  [0.022, 0.0169, -0.0048],
  [-0.0332, -0.0457, -0.0468],
  [-0.0085, 0.0389, 0.0609],
  [-0.0076, 0.0003, -0.0043],
  [-0.0111, -0.046, -0.0614],
] as const

export const flux2Klein: PipelineFamily = {
  className: 'Flux2KleinPipeline',
  savedAs: ['Flux2KleinInpaintPipeline'],
  label: 'FLUX.2-klein',
  networks: {
    text_encoder: qwen3TextEncoders(hiddenStates).map(maskingPadding),
    transformer: [Flux2Transformer2DModel],
    vae: [AutoencoderKLFlux2],
  },
  tokenizers: { tokenizer: [Qwen2Tokenizer] },
  optional: [],
  ignored: {},
  defaults: { numInferenceSteps: 50, guidanceScale: 4, maxSequenceLength: fluxSequenceLength },
  imageToImage: { strength: 1, partialStepRuns: false },
  roundsSize: true,
  guidance: 'classifier-free',
  takesNegativePrompt: false,
  takesReferences: true,
  // The authors of the distilled models recommend four steps. diffusers' default is 50, also for these models.
  settingsOf: (options) =>
    isTruthy(options['is_distilled'], false)
      ? { defaults: { numInferenceSteps: 4, guidanceScale: 1, maxSequenceLength: fluxSequenceLength }, guidance: 'none' }
      : {},
  promptWidths: ({ text_encoder: qwen }) => qwen && { hidden: hiddenStates.length * qwen.hidden, pooled: null },
  rescalesGuidance: false,
  scheduler: {
    setsBeginIndex: true,
    // If the caller gives only sigmas, diffusers computes the shift for its default of 50 steps, also with the distilled models.
    shift: (tokens, _config, steps = 50) => empiricalShift(tokens, steps),
    sigmas: flux.scheduler?.sigmas,
    ownFlowSigmas: 'all',
  },
  latentScales: scaledLatents,
  preview: {
    channels: channelColors.flatMap(([red, green, blue]) =>
      Array.from({ length: 4 }, () => [red / 4, green / 4, blue / 4] as const),
    ),
    bias: [-0.0329, -0.0718, -0.0851],
  },

  promptEncoder(parts, hosts, denoiser) {
    const encoder = textEncoderOf(parts, hosts, 'text_encoder', 'tokenizer')
    if (encoder === null)
      throw new CheckpointError('component-missing', 'The pipeline needs a text encoder with its tokenizer.', {
        component: 'text_encoder',
      })
    // diffusers' Flux2KleinPipeline never passes a guidance scale to the transformer.
    if (denoiser.model.guidanceInputs !== undefined)
      throw new UnsupportedError(
        'unsupported-config',
        'The transformer of a Flux2KleinPipeline has guidance_embeds true in its config; supported: false.',
        { className: 'Flux2Transformer2DModel', key: 'guidance_embeds', value: true, allowed: [false] },
      )
    return {
      check: () => {},
      // diffusers' Flux2KleinPipeline accepts no negative prompt: for guidance, it encodes an empty prompt.
      encode: async (prompt, { maxSequenceLength = fluxSequenceLength }, guided, call) => ({
        positive: await encodeText(encoder, prompt, maxSequenceLength, call),
        negative: guided ? await encodeText(encoder, '', maxSequenceLength, call) : null,
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
  }),
}

/** The hidden states of the prompt in its chat template, side by side. */
async function encodeText(
  encoder: LoadedTextEncoder,
  text: string,
  maxSequenceLength: number,
  call: EncodeCall,
): Promise<EncodedPrompt> {
  const chat = encoder.chat(text, { enableThinking: false })
  const { hiddenStates: states } = await encoder.encode(chat, call, { maxSequenceLength })
  return { embeds: sideBySide(states), pooled: null }
}

/** diffusers' `compute_empirical_mu`: the shift of the schedule, fitted to the number of tokens and steps. */
function empiricalShift(tokens: number, steps: number): number {
  const at200 = 0.00016927 * tokens + 0.45666666
  if (tokens > 4300) return at200
  const at10 = 8.73809524e-5 * tokens + 1.89833333
  const slope = (at200 - at10) / 190
  return slope * steps + (at200 - 200 * slope)
}
