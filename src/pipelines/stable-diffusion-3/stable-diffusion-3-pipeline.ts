/** StableDiffusion3Pipeline: Stable Diffusion 3 and 3.5, text to image. Mirrors diffusers' class of that name. */

import type { Config } from '../../checkpoint/types.js'
import { CheckpointError, InputError } from '../../errors.js'
import type { Repository } from '../../hub/types.js'
import { checkInputs, resultSize } from '../check-inputs.js'
import { checkClipSkip, type ClipTextEncoder } from '../clip-text-encoder.js'
import type { DeviceHosts } from '../device-hosts.js'
import { previewCoefficients } from '../latent-preview.js'
import type { GraphVariant, Network } from '../networks.js'
import type { OpenPipelineOptions } from '../find-pipeline.js'
import { describePipeline, openPipeline, type OpenedPipeline } from '../open-pipeline.js'
import { clipEncoderOf, latentChannels, networkOf, t5EncoderOf } from '../parts.js'
import type { PipelineSpec } from '../pipeline-loading.js'
import { Recorder } from '../recorder.js'
import { Run, type GenerateHooks } from '../run-hooks.js'
import { describeScheduler, prepareScheduler, schedulerSource, type SchedulerSource } from '../schedule.js'
import type { T5TextEncoder } from '../t5-text-encoder.js'
import { concatBatch, concatLast, concatTokens, padLast, repeatBatch } from '../tensors.js'
import { imageStart, textToImage } from '../text-to-image.js'
import type { GenerateOptions, GenerateResult, PipelineInfo, PlainTensor } from '../types.js'
import { vaeScaleFactor } from '../vae-decoder.js'
import { sd3Predictor, type Sd3Condition, type SkipLayerGuidance } from './sd3-predictor.js'

const imagePrompt = 'not used without an image prompt.'

/** What the pipeline is made of. */
export const stableDiffusion3Spec: PipelineSpec = {
  className: 'StableDiffusion3Pipeline',
  networks: {
    text_encoder: ['CLIPTextModelWithProjection'],
    text_encoder_2: ['CLIPTextModelWithProjection'],
    text_encoder_3: ['T5EncoderModel'],
    transformer: ['SD3Transformer2DModel'],
    vae: ['AutoencoderKL'],
  },
  tokenizers: { tokenizer: 'clip', tokenizer_2: 'clip', tokenizer_3: 't5' },
  optional: ['text_encoder_3', 'tokenizer_3', 'image_encoder', 'feature_extractor'],
  ignored: { image_encoder: imagePrompt, feature_extractor: imagePrompt },
}

/** Prompt embeddings, [numImagesPerPrompt, tokens, width], and pooled ones; negative ones only with guidance. */
export interface PromptEmbeds3 {
  readonly promptEmbeds: PlainTensor
  readonly negativePromptEmbeds: PlainTensor | null
  readonly pooledPromptEmbeds: PlainTensor
  readonly negativePooledPromptEmbeds: PlainTensor | null
}

type PromptOptions = Pick<
  GenerateOptions,
  | 'prompt2'
  | 'prompt3'
  | 'negativePrompt'
  | 'negativePrompt2'
  | 'negativePrompt3'
  | 'clipSkip'
  | 'numImagesPerPrompt'
  | 'maxSequenceLength'
>

const defaultSteps = 28
const defaultGuidance = 7
const defaultSequenceLength = 256

/** Loaded Stable Diffusion 3. */
export class StableDiffusion3Pipeline {
  readonly info: PipelineInfo
  readonly #opened: OpenedPipeline
  readonly #hosts: DeviceHosts
  readonly #clips: readonly [ClipTextEncoder, ClipTextEncoder]
  readonly #t5: T5TextEncoder | null
  readonly #transformer: Network
  readonly #vae: Network
  readonly #scheduler: SchedulerSource

  constructor(opened: OpenedPipeline) {
    const { parts, hosts } = opened
    this.#opened = opened
    this.#hosts = hosts
    this.#transformer = networkOf(parts, 'transformer')
    this.#vae = networkOf(parts, 'vae')
    latentChannels(this.#transformer, this.#vae)
    const [first, second] = [clipEncoderOf(parts, hosts, ''), clipEncoderOf(parts, hosts, '_2')]
    if (first === null || second === null)
      throw new CheckpointError('component-missing', 'The pipeline has not both CLIP text encoders.', {
        component: 'text_encoder',
      })
    this.#clips = [first, second]
    this.#t5 = t5EncoderOf(parts, hosts)
    this.#scheduler = schedulerSource(parts.scheduler)
    const edge = configNumber(this.#transformer.config, 'sample_size', 128) * vaeScaleFactor(this.#vae)
    this.info = describePipeline(
      opened,
      { width: edge, height: edge, numInferenceSteps: defaultSteps, guidanceScale: defaultGuidance },
      describeScheduler(this.#scheduler),
    )
  }

  /** Loads a repository whose pipeline is this one. */
  static async fromPretrained(repo: string | Repository, options: OpenPipelineOptions = {}): Promise<StableDiffusion3Pipeline> {
    return new StableDiffusion3Pipeline(await openPipeline(repo, options, [stableDiffusion3Spec]))
  }

  /** Makes images. @throws InputError, DeviceError, UnsupportedError, AbortError */
  async generate(prompt: string, options: GenerateOptions & GenerateHooks = {}): Promise<GenerateResult> {
    const run = new Run(options)
    const factor = vaeScaleFactor(this.#vae)
    const { config } = this.#transformer
    const patch = configNumber(config, 'patch_size', 2)
    const { guidanceScale = defaultGuidance } = options
    const { width, height } = resultSize(options, this.info.defaults, factor * patch)
    checkInputs(prompt, options, { width, height }, factor * patch)
    for (const encoder of this.#clips) checkClipSkip(options.clipSkip, encoder.layers)
    checkSkipLayers(options, configNumber(config, 'num_layers', 18))
    const size = { height: height / factor, width: width / factor }
    const patches = Math.floor(size.height / patch) * Math.floor(size.width / patch)
    const defaults = { ...this.info.defaults, mu: (schedule: Config) => calculateShift(patches, schedule) }
    const scheduler = prepareScheduler(this.#scheduler, options, defaults, run)
    const recorder = new Recorder(options.capture)
    const guided = guidanceScale > 1
    const start = imageStart(options, scheduler, { strength: 0.6, steps: defaultSteps, partialStepRuns: true })
    return textToImage({
      options,
      start,
      hosts: this.#hosts,
      scheduler,
      latentDims: [options.numImagesPerPrompt ?? 1, latentChannels(this.#transformer, this.#vae), size.height, size.width],
      encode: async () => {
        const embeds = await this.encodePrompt(prompt, options, guided, run)
        recorder.keep('prompt_embeds', embeds.promptEmbeds)
        recorder.keep('negative_prompt_embeds', embeds.negativePromptEmbeds)
        recorder.keep('pooled_prompt_embeds', embeds.pooledPromptEmbeds)
        recorder.keep('negative_pooled_prompt_embeds', embeds.negativePooledPromptEmbeds)
        const skip = guided ? skipLayerGuidance(options, embeds) : null
        return sd3Predictor(this.#transformer, conditionOf(embeds), size, skip, {
          host: this.#hosts.of('transformer'),
          recorder,
          run,
        })
      },
      guidance: guided ? { scale: guidanceScale, rescale: 0 } : null,
      vae: this.#vae,
      scaling: 'scale-and-shift',
      preview: previewCoefficients.sd3,
      recorder,
      run,
    })
  }

  /** diffusers' `encode_prompt`. `clipSkip` counts for the prompt, not for the negative one. */
  async encodePrompt(prompt: string, options: PromptOptions, guided: boolean, run: Run = new Run({})): Promise<PromptEmbeds3> {
    const { clipSkip, numImagesPerPrompt: count = 1, maxSequenceLength: length = defaultSequenceLength } = options
    const variant = clipSkip === undefined ? {} : { hiddenState: { index: -(clipSkip + 2), finalLayerNorm: false } }
    const positive = await this.#encode([prompt, options.prompt2 || prompt, options.prompt3 || prompt], length, run, variant)
    let negative: { hidden: PlainTensor; pooled: PlainTensor } | null = null
    if (guided) {
      const first = options.negativePrompt ?? ''
      negative = await this.#encode([first, options.negativePrompt2 || first, options.negativePrompt3 || first], length, run, {})
    }
    return {
      promptEmbeds: repeatBatch(positive.hidden, count),
      negativePromptEmbeds: negative === null ? null : repeatBatch(negative.hidden, count),
      pooledPromptEmbeds: repeatBatch(positive.pooled, count),
      negativePooledPromptEmbeds: negative === null ? null : repeatBatch(negative.pooled, count),
    }
  }

  /** Both CLIPs' hidden states side by side, filled up to T5's width, then T5's below them; zeros where there is no T5. */
  async #encode(
    [first, second, third]: readonly [string, string, string],
    length: number,
    run: Run,
    variant: GraphVariant,
  ): Promise<{ hidden: PlainTensor; pooled: PlainTensor }> {
    const one = await this.#clips[0].encode(first, 'hidden_state', run, variant)
    const two = await this.#clips[1].encode(second, 'hidden_state', run, variant)
    if (one.pooled === null || two.pooled === null)
      throw new CheckpointError('component-missing', 'A CLIP text encoder gives no pooled vector.', { component: 'text_encoder' })
    const width = configNumber(this.#transformer.config, 'joint_attention_dim', 4096)
    const t5 = (await this.#t5?.encode(third, length, run)) ?? {
      dims: [1, length, width],
      data: new Float32Array(length * width),
    }
    const clip = padLast(concatLast([one.hidden, two.hidden]), t5.dims[2] ?? width)
    return { hidden: concatTokens([clip, t5]), pooled: concatLast([one.pooled, two.pooled]) }
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

function conditionOf(embeds: PromptEmbeds3): Sd3Condition {
  const { promptEmbeds, negativePromptEmbeds, pooledPromptEmbeds, negativePooledPromptEmbeds } = embeds
  if (negativePromptEmbeds === null || negativePooledPromptEmbeds === null)
    return { encoder_hidden_states: promptEmbeds, pooled_projections: pooledPromptEmbeds }
  return {
    encoder_hidden_states: concatBatch([negativePromptEmbeds, promptEmbeds]),
    pooled_projections: concatBatch([negativePooledPromptEmbeds, pooledPromptEmbeds]),
  }
}

function skipLayerGuidance(options: GenerateOptions, embeds: PromptEmbeds3): SkipLayerGuidance | null {
  const { skipGuidanceLayers: layers } = options
  if (layers === undefined || layers.length === 0) return null
  return {
    layers,
    scale: options.skipLayerGuidanceScale ?? 2.8,
    start: options.skipLayerGuidanceStart ?? 0.01,
    stop: options.skipLayerGuidanceStop ?? 0.2,
    condition: { encoder_hidden_states: embeds.promptEmbeds, pooled_projections: embeds.pooledPromptEmbeds },
  }
}

/** @throws InputError `skip-layers` */
function checkSkipLayers(options: GenerateOptions, layers: number): void {
  const skipped = options.skipGuidanceLayers ?? []
  // The last block has no text stream to go on with, so it cannot be left out.
  if (!Array.isArray(skipped) || !skipped.every((layer) => Number.isInteger(layer) && layer >= 0 && layer < layers - 1))
    throw new InputError(
      'skip-layers',
      `skipGuidanceLayers is ${JSON.stringify(skipped)}; allowed are blocks from 0 to ${layers - 2}.`,
      {
        skipGuidanceLayers: JSON.stringify(skipped),
        allowed: layers - 2,
      },
    )
  for (const key of ['skipLayerGuidanceScale', 'skipLayerGuidanceStart', 'skipLayerGuidanceStop'] as const) {
    const value = options[key]
    if (value !== undefined && !(Number.isFinite(value) && Math.abs(value) <= 1000))
      throw new InputError('skip-layers', `${key} is ${value}; allowed are numbers from -1000 to 1000.`, { [key]: value })
  }
}
