/** FluxPipeline: FLUX.1 schnell and dev. Mirrors diffusers' class of that name, and with `image` its Img2Img class. */

import { CheckpointError } from '../../errors.js'
import { AutoencoderKL } from '../../models/autoencoders/autoencoder-kl.js'
import { AutoencoderTiny } from '../../models/autoencoders/autoencoder-tiny.js'
import { CLIPTextModel } from '../../models/text-encoders/clip-text-model.js'
import { T5EncoderModel } from '../../models/text-encoders/t5-encoder-model.js'
import { fluxSequenceLength } from '../../models/transformers/flux-parts.js'
import { FluxTransformer2DModel } from '../../models/transformers/transformer-flux.js'
import { linspace } from '../../schedulers/numpy.js'
import { CLIPTokenizer } from '../../tokenizers/clip-tokenizer.js'
import { T5Tokenizer } from '../../tokenizers/t5-tokenizer.js'
import { dynamicShift } from './dynamic-shift.js'
import type { PipelineFamily } from '../generation/pipeline-family.js'
import { assembleBatch, sideBySide, type EncodedPrompt } from '../prompts/prompt-embeds.js'
import { textEncoderOf } from '../prompts/text-encoders.js'
import { shiftedLatents } from '../images/latent-scaling.js'

const imagePrompt = 'It is not used without an image prompt.'

export const flux: PipelineFamily = {
  className: 'FluxPipeline',
  savedAs: ['FluxImg2ImgPipeline', 'FluxInpaintPipeline'],
  label: 'FLUX.1',
  previewDecoder: 'madebyollin/taef1',
  networks: {
    text_encoder: [CLIPTextModel],
    text_encoder_2: [T5EncoderModel],
    transformer: [FluxTransformer2DModel],
    vae: [AutoencoderKL, AutoencoderTiny],
  },
  tokenizers: { tokenizer: [CLIPTokenizer], tokenizer_2: [T5Tokenizer] },
  optional: ['image_encoder', 'feature_extractor'],
  ignored: { image_encoder: imagePrompt, feature_extractor: imagePrompt },
  defaults: { numInferenceSteps: 28, guidanceScale: 3.5, maxSequenceLength: fluxSequenceLength },
  imageToImage: { strength: 0.6, partialStepRuns: true, defaults: { guidanceScale: 7 } },
  roundsSize: true,
  // dev takes the guidance scale as an input; schnell ignores it.
  guidance: 'embedded',
  takesTrueCfg: true,
  promptWidths: ({ text_encoder: clip, text_encoder_2: t5 }) => clip && t5 && { hidden: t5.hidden, pooled: clip.hidden },
  rescalesGuidance: false,
  scheduler: {
    setsBeginIndex: true,
    shift: (tokens, config) => dynamicShift(tokens, config, 1.15),
    // FluxImg2ImgPipeline passes its own sigmas also to a scheduler with `use_flow_sigmas`.
    ownFlowSigmas: 'from-text',
    sigmas: (steps) => linspace(1, 1 / steps, steps),
  },
  latentScales: shiftedLatents,
  latentStatistics: ['shift_factor'],
  preview: {
    channels: [
      [-0.0346, 0.0244, 0.0681],
      [0.0034, 0.021, 0.0687],
      [0.0275, -0.0668, -0.0433],
      [-0.0174, 0.016, 0.0617],
      [0.0859, 0.0721, 0.0329],
      [0.0004, 0.0383, 0.0115],
      [0.0405, 0.0861, 0.0915],
      [-0.0236, -0.0185, -0.0259],
      [-0.0245, 0.025, 0.118],
      [0.1008, 0.0755, -0.0421],
      [-0.0515, 0.0201, 0.0011],
      [0.0428, -0.0012, -0.0036],
      [0.0817, 0.0765, 0.0749],
      [-0.1264, -0.0522, -0.1103],
      [-0.028, -0.0881, -0.0499],
      [-0.1262, -0.0982, -0.0778],
    ],
    bias: [-0.0329, -0.0718, -0.0851],
  },

  promptEncoder(parts, hosts) {
    const clip = textEncoderOf(parts, hosts, 'text_encoder', 'tokenizer')
    const t5 = textEncoderOf(parts, hosts, 'text_encoder_2', 'tokenizer_2')
    if (clip === null || t5 === null) {
      const component = clip === null ? 'text_encoder' : 'text_encoder_2'
      throw new CheckpointError('component-missing', `The pipeline needs both text encoders, but has no ${component}.`, {
        component,
      })
    }
    return {
      check: () => {},
      encode: async (prompt, options, guided, call) => {
        const { prompt2, negativePrompt = '', negativePrompt2, maxSequenceLength = fluxSequenceLength } = options
        const encode = async (text: string, text2: string): Promise<EncodedPrompt> => {
          const { pooled } = await clip.encode(text, call, { output: 'last_hidden_state', pooledOutput: 'pooler_output' })
          const { hidden } = await t5.encode(text2, call, { output: 'last_hidden_state', maxSequenceLength })
          if (pooled === null)
            throw new CheckpointError('component-missing', 'The CLIP text encoder has no pooled output.', {
              component: 'text_encoder',
            })
          return { embeds: sideBySide([hidden]), pooled: sideBySide([pooled]) }
        }
        return {
          positive: await encode(prompt, prompt2 ?? prompt),
          negative: guided ? await encode(negativePrompt, negativePrompt2 ?? negativePrompt) : null,
        }
      },
    }
  },

  condition: ({ device, prompts, count, denoiser }) => ({
    encoder_hidden_states: assembleBatch(
      device,
      prompts.map(({ embeds }) => embeds),
      count,
      denoiser.name,
    ),
    pooled_projections: assembleBatch(
      device,
      prompts.flatMap(({ pooled }) => pooled ?? []),
      count,
      denoiser.name,
    ),
  }),
}
