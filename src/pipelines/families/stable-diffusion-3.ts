/** StableDiffusion3Pipeline: Stable Diffusion 3 and 3.5, text to image. Mirrors diffusers' class of that name. */

import { defaultMaxSequenceLength, type AutoencoderModel, type DenoiserModel, type GraphVariant } from '../../models/types.js'
import type { Config } from '../../checkpoint/types.js'
import { CheckpointError, InputError } from '../../errors.js'
import { AutoencoderKL } from '../../models/autoencoders/autoencoder-kl.js'
import { CLIPTextModelWithProjection } from '../../models/text-encoders/clip-text-model.js'
import { T5EncoderModel } from '../../models/text-encoders/t5-encoder-model.js'
import { SD3Transformer2DModel } from '../../models/transformers/transformer-sd3.js'
import { CLIPTokenizer } from '../../tokenizers/clip-tokenizer.js'
import { T5Tokenizer } from '../../tokenizers/t5-tokenizer.js'
import { checkInputs, resultSize } from '../check-inputs.js'
import { checkClipSkip, type ClipTextEncoder } from '../generation/clip-text-encoder.js'
import type { DeviceHosts } from '../execution/device-hosts.js'
import { previewCoefficients } from '../generation/latent-preview.js'
import type { Network } from '../bind-network.js'
import { describePipeline, type OpenedPipeline } from '../loading/open-pipeline.js'
import { clipEncoderOf, latentChannels, networkOf, t5EncoderOf } from '../generation/parts.js'
import type { PipelineSpec } from '../loading/read-parts.js'
import {
  assembleBatch,
  sideBySide,
  type EncodeCall,
  type EncodedPrompt,
  type EncodedPrompts,
} from '../generation/prompt-embeds.js'
import { Run, type GenerateHooks, Recorder } from '../run.js'
import { describeScheduler, prepareScheduler, schedulerSource, type SchedulerSource } from '../generation/schedule.js'
import type { T5TextEncoder } from '../generation/t5-text-encoder.js'
import { imageStart } from '../generation/image-start.js'
import { textToImage } from '../generation/text-to-image.js'
import type { GenerateOptions, GenerateResult, PipelineInfo } from '../types.js'
import { readPositions, sd3Predictor, type SkipLayerGuidance } from './sd3-predictor.js'

const imagePrompt = 'not used without an image prompt.'

/** What the pipeline is made of. */
export const stableDiffusion3Spec: PipelineSpec = {
  className: 'StableDiffusion3Pipeline',
  networks: {
    text_encoder: [CLIPTextModelWithProjection],
    text_encoder_2: [CLIPTextModelWithProjection],
    text_encoder_3: [T5EncoderModel],
    transformer: [SD3Transformer2DModel],
    vae: [AutoencoderKL],
  },
  tokenizers: { tokenizer: [CLIPTokenizer], tokenizer_2: [CLIPTokenizer], tokenizer_3: [T5Tokenizer] },
  optional: ['text_encoder_3', 'image_encoder', 'feature_extractor'],
  ignored: { image_encoder: imagePrompt, feature_extractor: imagePrompt },
}

type PromptOptions = Pick<
  GenerateOptions,
  'prompt2' | 'prompt3' | 'negativePrompt' | 'negativePrompt2' | 'negativePrompt3' | 'clipSkip' | 'maxSequenceLength'
>

const defaultSteps = 28
const defaultGuidance = 7

/** Loaded Stable Diffusion 3. */
export class StableDiffusion3Pipeline {
  readonly info: PipelineInfo
  readonly #opened: OpenedPipeline
  readonly #hosts: DeviceHosts
  readonly #clips: readonly [ClipTextEncoder, ClipTextEncoder]
  readonly #t5: T5TextEncoder | null
  readonly #transformer: Network<DenoiserModel>
  readonly #vae: Network<AutoencoderModel>
  readonly #scheduler: SchedulerSource

  constructor(opened: OpenedPipeline) {
    const { parts, hosts } = opened
    this.#opened = opened
    this.#hosts = hosts
    this.#transformer = networkOf(parts, 'transformer', 'denoiser')
    this.#vae = networkOf(parts, 'vae', 'autoencoder')
    latentChannels(this.#transformer, this.#vae)
    const [first, second] = [clipEncoderOf(parts, hosts, ''), clipEncoderOf(parts, hosts, '_2')]
    if (first === null || second === null)
      throw new CheckpointError('component-missing', 'The pipeline needs both CLIP text encoders, but one is missing.', {
        component: 'text_encoder',
      })
    this.#clips = [first, second]
    this.#t5 = t5EncoderOf(parts, hosts)
    this.#scheduler = schedulerSource(parts.scheduler)
    const factor = this.#vae.model.scaleFactor
    const { width, height } = this.#transformer.model.latents.sampleSize
    this.info = describePipeline(
      opened,
      { width: width * factor, height: height * factor, numInferenceSteps: defaultSteps, guidanceScale: defaultGuidance },
      describeScheduler(this.#scheduler),
    )
  }

  /** Makes images. @throws InputError, DeviceError, UnsupportedError, AbortError */
  async generate(prompt: string, options: GenerateOptions & GenerateHooks = {}): Promise<GenerateResult> {
    const run = new Run(options)
    const factor = this.#vae.model.scaleFactor
    const transformer = this.#transformer
    const { patch } = transformer.model.latents
    const { guidanceScale = defaultGuidance } = options
    const { width, height } = resultSize(options, this.info.defaults, factor * patch)
    checkInputs(prompt, options, { width, height }, factor * patch)
    for (const encoder of this.#clips) checkClipSkip(options.clipSkip, encoder.layers)
    checkSkipLayers(options, transformer.model.skippableLayers)
    const size = { height: height / factor, width: width / factor }
    const patches = Math.floor(size.height / patch) * Math.floor(size.width / patch)
    const defaults = { ...this.info.defaults, mu: (schedule: Config) => calculateShift(patches, schedule) }
    const scheduler = prepareScheduler(this.#scheduler, options, defaults, run)
    const recorder = new Recorder(options.capture)
    const guided = guidanceScale > 1
    const count = options.numImagesPerPrompt ?? 1
    const start = imageStart(options, scheduler, { strength: 0.6, steps: defaultSteps, partialStepRuns: true })
    return textToImage({
      options,
      start,
      hosts: this.#hosts,
      scheduler,
      latentDims: [count, latentChannels(transformer, this.#vae), size.height, size.width],
      prompt: {
        denoiser: transformer,
        encode: (call) => this.#encodePrompt(prompt, options, guided, call),
        inputs: async (device, prompts) => {
          const positions = await readPositions(transformer, size, run.signal)
          const embeds = prompts.map((one) => one.embeds)
          const pooled = prompts.flatMap((one) => one.pooled ?? [])
          return {
            encoder_hidden_states: assembleBatch(device, embeds, count, transformer.name),
            pooled_projections: assembleBatch(device, pooled, count, transformer.name),
            pos_embed: device.upload(positions, transformer.name),
          }
        },
      },
      predictor: (condition, host, keep) =>
        sd3Predictor(transformer, condition, guided ? skipLayerGuidance(options) : null, { host, recorder, run, keep }),
      guidance: guided ? { scale: guidanceScale, rescale: 0 } : null,
      vae: this.#vae,
      scaling: 'scale-and-shift',
      preview: previewCoefficients.sd3,
      recorder,
      run,
    })
  }

  /** diffusers' `encode_prompt`. `clipSkip` counts for the prompt, not for the negative one. */
  async #encodePrompt(prompt: string, options: PromptOptions, guided: boolean, call: EncodeCall): Promise<EncodedPrompts> {
    const { clipSkip, maxSequenceLength: length = defaultMaxSequenceLength, prompt2, prompt3 } = options
    const { negativePrompt = '', negativePrompt2, negativePrompt3 } = options
    const variant = clipSkip === undefined ? {} : { hiddenStates: [{ index: -(clipSkip + 2), finalLayerNorm: false }] }
    const negative = [negativePrompt, negativePrompt2 || negativePrompt, negativePrompt3 || negativePrompt] as const
    return {
      positive: await this.#encode([prompt, prompt2 || prompt, prompt3 || prompt], length, call, variant),
      negative: guided ? await this.#encode(negative, length, call, {}) : null,
    }
  }

  /** Both CLIPs' hidden states side by side, filled up to T5's width, then T5's below them; zeros where there is no T5. */
  async #encode(
    [first, second, third]: readonly [string, string, string],
    length: number,
    call: EncodeCall,
    variant: GraphVariant,
  ): Promise<EncodedPrompt> {
    const one = await this.#clips[0].encode(first, 'hidden_state', call, variant)
    const two = await this.#clips[1].encode(second, 'hidden_state', call, variant)
    if (one.pooled === null || two.pooled === null)
      throw new CheckpointError('component-missing', 'A CLIP text encoder has no pooled output.', { component: 'text_encoder' })
    const t5 = await this.#t5?.encode(third, length, call)
    const clip = sideBySide([one.hidden, two.hidden])
    const [tokens = 0, clipWidth = 0] = clip.dims
    const width = Math.max(clipWidth, t5?.dims[2] ?? this.#transformer.model.contextWidth)
    return {
      embeds: {
        dims: [tokens + length, width],
        parts: [...clip.parts, ...(t5 === undefined ? [] : [{ tensor: t5, at: [tokens, 0] }])],
      },
      pooled: sideBySide([one.pooled, two.pooled]),
    }
  }

  /** Gives back everything. The pipeline cannot be used again. */
  async dispose(): Promise<void> {
    await this.#hosts.dispose()
    this.#opened.close()
  }
}

function configNumber(config: Config, key: string, fallback: number): number {
  const value = config[key]
  return typeof value === 'number' ? value : fallback
}

/** diffusers' `calculate_shift`: the schedule's shift grows with the number of patches. */
function calculateShift(patches: number, config: Config): number {
  const baseLength = configNumber(config, 'base_image_seq_len', 256)
  const maxLength = configNumber(config, 'max_image_seq_len', 4096)
  const baseShift = configNumber(config, 'base_shift', 0.5)
  const slope = (configNumber(config, 'max_shift', 1.16) - baseShift) / (maxLength - baseLength)
  return patches * slope + (baseShift - slope * baseLength)
}

function skipLayerGuidance(options: GenerateOptions): SkipLayerGuidance | null {
  const { skipGuidanceLayers: layers } = options
  if (layers === undefined || layers.length === 0) return null
  return {
    layers,
    scale: options.skipLayerGuidanceScale ?? 2.8,
    start: options.skipLayerGuidanceStart ?? 0.01,
    stop: options.skipLayerGuidanceStop ?? 0.2,
  }
}

/** @throws InputError `skip-layers` */
function checkSkipLayers(options: GenerateOptions, skippable: number): void {
  const skipped = options.skipGuidanceLayers ?? []
  if (!Array.isArray(skipped) || !skipped.every((layer) => Number.isInteger(layer) && layer >= 0 && layer < skippable))
    throw new InputError(
      'skip-layers',
      `skipGuidanceLayers is ${JSON.stringify(skipped)}; allowed are blocks from 0 to ${skippable - 1}.`,
      {
        skipGuidanceLayers: JSON.stringify(skipped),
        allowed: skippable - 1,
      },
    )
  for (const key of ['skipLayerGuidanceScale', 'skipLayerGuidanceStart', 'skipLayerGuidanceStop'] as const) {
    const value = options[key]
    if (value !== undefined && !(Number.isFinite(value) && Math.abs(value) <= 1000))
      throw new InputError('skip-layers', `${key} is ${value}; allowed are numbers from -1000 to 1000.`, { [key]: value })
  }
}
