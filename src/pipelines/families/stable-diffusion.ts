/**
 * StableDiffusionPipeline: Stable Diffusion 1.x and 2.x. Mirrors diffusers' class of that name, and with `image` its
 * StableDiffusionImg2ImgPipeline.
 */

import { CheckpointError } from '../../errors.js'
import { AutoencoderKL } from '../../models/autoencoders/autoencoder-kl.js'
import { AutoencoderTiny } from '../../models/autoencoders/autoencoder-tiny.js'
import { CLIPTextModel } from '../../models/text-encoders/clip-text-model.js'
import { UNet2DConditionModel } from '../../models/unets/unet-2d-condition.js'
import { CLIPTokenizer } from '../../tokenizers/clip-tokenizer.js'
import { scaledLatents } from '../images/latent-scaling.js'
import type { PipelineFamily } from '../generation/pipeline-family.js'
import { assembleBatch, sideBySide } from '../prompts/prompt-embeds.js'
import { correctedSchedulerSource } from '../generation/schedule.js'
import { checkClipSkip, textEncoderOf, type EncodeTextOptions } from '../prompts/text-encoders.js'

export const stableDiffusion: PipelineFamily = {
  className: 'StableDiffusionPipeline',
  savedAs: [
    'StableDiffusionImg2ImgPipeline',
    'StableDiffusionInpaintPipeline',
    // The following classes make the same images from the same components unless an option that only they have is set.
    'AltDiffusionPipeline',
    'SemanticStableDiffusionPipeline',
    'StableDiffusionModelEditingPipeline',
  ],
  label: 'Stable Diffusion',
  previewDecoder: 'madebyollin/taesd',
  networks: { text_encoder: [CLIPTextModel], unet: [UNet2DConditionModel], vae: [AutoencoderKL, AutoencoderTiny] },
  tokenizers: { tokenizer: [CLIPTokenizer] },
  optional: ['safety_checker', 'feature_extractor', 'image_encoder'],
  ignored: {
    safety_checker:
      'Aquatint does not check images for nudity or other NSFW content, as diffusers would with it; a page can do so itself.',
    feature_extractor: 'It is not used without a safety checker.',
    image_encoder: 'It is not used without an image prompt.',
  },
  defaults: { numInferenceSteps: 50, guidanceScale: 7.5 },
  imageToImage: { strength: 0.8, partialStepRuns: false },
  guidance: 'classifier-free',
  promptWidths: ({ text_encoder: clip }) => clip && { hidden: clip.hidden, pooled: null },
  rescalesGuidance: true,
  stepsOffset: 1,
  scheduler: { correct: correctedSchedulerSource },
  latentScales: scaledLatents,
  preview: {
    channels: [
      [0.3512, 0.2297, 0.3227],
      [0.325, 0.4974, 0.235],
      [-0.2829, 0.1762, 0.2721],
      [-0.212, -0.2616, -0.7177],
    ],
    bias: [0, 0, 0],
  },

  promptEncoder(parts, hosts) {
    const encoder = textEncoderOf(parts, hosts, 'text_encoder', 'tokenizer')
    if (encoder === null)
      throw new CheckpointError('component-missing', 'The pipeline has no text encoder.', { component: 'text_encoder' })
    return {
      weighted: [encoder],
      check: ({ clipSkip }) => checkClipSkip(clipSkip, encoder.layers),
      // `clipSkip` applies to the prompt, not to the negative prompt.
      encode: async (prompt, { clipSkip, negativePrompt = '' }, guided, call) => {
        // Both prompts use the same graph, which outputs the last hidden state and the one that `clipSkip` selects.
        const hiddenStates = clipSkip === undefined ? undefined : [{ index: -(clipSkip + 1), finalLayerNorm: true }]
        const encode = async (text: string, output: EncodeTextOptions['output']) => {
          const { hidden } = await encoder.encode(text, call, { output, hiddenStates })
          return { embeds: sideBySide([hidden]), pooled: null }
        }
        return {
          positive: await encode(prompt, clipSkip === undefined ? 'last_hidden_state' : 'hidden_states'),
          negative: guided ? await encode(negativePrompt, 'last_hidden_state') : null,
        }
      },
    }
  },

  condition: ({ device, prompts, count, denoiser }) => {
    const embeds = prompts.map((one) => one.embeds)
    return { encoder_hidden_states: assembleBatch(device, embeds, count, denoiser.name) }
  },
}
