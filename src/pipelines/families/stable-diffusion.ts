/**
 * StableDiffusionPipeline: Stable Diffusion 1.x and 2.x. Mirrors diffusers' class of that name, and with `image` its
 * StableDiffusionImg2ImgPipeline.
 */

import { CheckpointError } from '../../errors.js'
import { AutoencoderKL } from '../../models/autoencoders/autoencoder-kl.js'
import { CLIPTextModel } from '../../models/text-encoders/clip-text-model.js'
import { UNet2DConditionModel } from '../../models/unets/unet-2d-condition.js'
import { CLIPTokenizer } from '../../tokenizers/clip-tokenizer.js'
import { checkInputs, resultSize } from '../check-inputs.js'
import { checkClipSkip, type ClipOutput, type ClipTextEncoder } from '../generation/clip-text-encoder.js'
import type { DeviceHosts } from '../execution/device-hosts.js'
import { previewCoefficients } from '../generation/latent-preview.js'
import type { AutoencoderModel, DenoiserModel } from '../../models/types.js'
import type { Network } from '../bind-network.js'
import { describePipeline, type OpenedPipeline } from '../loading/open-pipeline.js'
import { clipEncoderOf, latentChannels, networkOf } from '../generation/parts.js'
import type { PipelineSpec } from '../loading/read-parts.js'
import { assembleBatch, sideBySide, type EncodeCall, type EncodedPrompts } from '../generation/prompt-embeds.js'
import { Run, type GenerateHooks, Recorder } from '../run.js'
import { describeScheduler, mendedSchedulerSource, prepareScheduler, type SchedulerSource } from '../generation/schedule.js'
import type { GenerateOptions, GenerateResult, PipelineInfo } from '../types.js'
import { imageStart } from '../generation/image-start.js'
import { textToImage } from '../generation/text-to-image.js'
import { unetPredictor } from '../generation/unet-predictor.js'
/** What the pipeline is made of. */
export const stableDiffusionSpec: PipelineSpec = {
  className: 'StableDiffusionPipeline',
  networks: { text_encoder: [CLIPTextModel], unet: [UNet2DConditionModel], vae: [AutoencoderKL] },
  tokenizers: { tokenizer: [CLIPTokenizer] },
  optional: ['safety_checker', 'feature_extractor', 'image_encoder'],
  ignored: {
    safety_checker: 'images are not checked for content that is not safe for work; that is left to the page.',
    feature_extractor: 'not used without a safety checker.',
    image_encoder: 'not used without an image prompt.',
  },
}

const defaultSteps = 50
const defaultGuidance = 7.5

/** Loaded Stable Diffusion. */
export class StableDiffusionPipeline {
  readonly info: PipelineInfo
  readonly #opened: OpenedPipeline
  readonly #hosts: DeviceHosts
  readonly #encoder: ClipTextEncoder
  readonly #unet: Network<DenoiserModel>
  readonly #vae: Network<AutoencoderModel>
  readonly #scheduler: SchedulerSource

  constructor(opened: OpenedPipeline) {
    const { parts, hosts } = opened
    this.#opened = opened
    this.#hosts = hosts
    this.#unet = networkOf(parts, 'unet', 'denoiser')
    this.#vae = networkOf(parts, 'vae', 'autoencoder')
    latentChannels(this.#unet, this.#vae)
    const encoder = clipEncoderOf(parts, hosts, '')
    if (encoder === null)
      throw new CheckpointError('component-missing', 'The pipeline has no text encoder.', { component: 'text_encoder' })
    this.#encoder = encoder
    this.#scheduler = mendedSchedulerSource(parts.scheduler)
    const factor = this.#vae.model.scaleFactor
    const { width, height } = this.#unet.model.latents.sampleSize
    this.info = describePipeline(
      opened,
      { width: width * factor, height: height * factor, numInferenceSteps: defaultSteps, guidanceScale: defaultGuidance },
      describeScheduler(this.#scheduler),
    )
  }

  /** Makes images. @throws InputError, DeviceError, UnsupportedError, AbortError */
  async generate(prompt: string, options: GenerateOptions & GenerateHooks = {}): Promise<GenerateResult> {
    const run = new Run(options)
    const { guidanceScale = defaultGuidance } = options
    const factor = this.#vae.model.scaleFactor
    const { width, height } = resultSize(options, this.info.defaults, factor)
    checkInputs(prompt, options, { width, height }, factor)
    checkClipSkip(options.clipSkip, this.#encoder.layers)
    const scheduler = prepareScheduler(this.#scheduler, options, this.info.defaults, run)
    const recorder = new Recorder(options.capture)
    const guided = guidanceScale > 1
    const count = options.numImagesPerPrompt ?? 1
    const start = imageStart(options, scheduler, { strength: 0.8, steps: defaultSteps, partialStepRuns: false })
    return textToImage({
      options,
      start,
      hosts: this.#hosts,
      scheduler,
      latentDims: [count, latentChannels(this.#unet, this.#vae), height / factor, width / factor],
      prompt: {
        denoiser: this.#unet,
        encode: (call) => this.#encodePrompt(prompt, options, guided, call),
        inputs: (device, prompts) => {
          const embeds = prompts.map((one) => one.embeds)
          return { encoder_hidden_states: assembleBatch(device, embeds, count, this.#unet.name) }
        },
      },
      predictor: (condition, host) => unetPredictor(this.#unet, condition, host, run),
      guidance: guided ? { scale: guidanceScale, rescale: options.guidanceRescale ?? 0 } : null,
      vae: this.#vae,
      scaling: 'scale',
      preview: previewCoefficients.sd,
      recorder,
      run,
    })
  }

  /** diffusers' `encode_prompt`. `clipSkip` counts for the prompt, not for the negative one. */
  async #encodePrompt(
    prompt: string,
    { clipSkip, negativePrompt = '' }: Pick<GenerateOptions, 'negativePrompt' | 'clipSkip'>,
    guided: boolean,
    call: EncodeCall,
  ): Promise<EncodedPrompts> {
    // One variant of the graph gives both outputs.
    const variant = clipSkip === undefined ? {} : { hiddenStates: [{ index: -(clipSkip + 1), finalLayerNorm: true }] }
    const encode = async (text: string, output: ClipOutput) => {
      const { hidden } = await this.#encoder.encode(text, output, call, variant)
      return { embeds: sideBySide([hidden]), pooled: null }
    }
    return {
      positive: await encode(prompt, clipSkip === undefined ? 'last_hidden_state' : 'hidden_state'),
      negative: guided ? await encode(negativePrompt, 'last_hidden_state') : null,
    }
  }

  /** Gives back everything. The pipeline cannot be used again. */
  async dispose(): Promise<void> {
    await this.#hosts.dispose()
    this.#opened.close()
  }
}
