/**
 * StableDiffusionXLPipeline: Stable Diffusion XL and its descendants. Mirrors diffusers' class of that name, and with `image` its
 * StableDiffusionXLImg2ImgPipeline.
 */

import { CheckpointError } from '../../errors.js'
import type { Repository } from '../../hub/types.js'
import { unetAddEmbeds } from '../../models/unet-2d-condition.js'
import { checkInputs, resultSize } from '../check-inputs.js'
import { checkClipSkip, type ClipTextEncoder } from '../clip-text-encoder.js'
import type { DeviceHosts } from '../device-hosts.js'
import { previewCoefficients } from '../latent-preview.js'
import type { GraphVariant, Network } from '../networks.js'
import type { OpenPipelineOptions } from '../find-pipeline.js'
import { describePipeline, openPipeline, type OpenedPipeline } from '../open-pipeline.js'
import { clipEncoderOf, latentChannels, networkOf } from '../parts.js'
import type { PipelineSpec } from '../pipeline-loading.js'
import { Recorder } from '../recorder.js'
import { Run, type GenerateHooks } from '../run-hooks.js'
import { describeScheduler, prepareScheduler, schedulerSource, type SchedulerSource } from '../schedule.js'
import { concatBatch, concatLast, repeatBatch, zerosLike } from '../tensors.js'
import type { GenerateOptions, GenerateResult, PipelineInfo, PlainTensor } from '../types.js'
import { imageStart, textToImage } from '../text-to-image.js'
import { unetPredictor } from '../unet-predictor.js'
import { vaeScaleFactor } from '../vae-decoder.js'

/** What the pipeline is made of. */
export const stableDiffusionXLSpec: PipelineSpec = {
  className: 'StableDiffusionXLPipeline',
  networks: {
    text_encoder: ['CLIPTextModel'],
    text_encoder_2: ['CLIPTextModelWithProjection'],
    unet: ['UNet2DConditionModel'],
    vae: ['AutoencoderKL'],
  },
  tokenizers: { tokenizer: 'clip', tokenizer_2: 'clip' },
  optional: ['text_encoder', 'tokenizer', 'feature_extractor', 'image_encoder'],
  ignored: { feature_extractor: 'not used without an image prompt.', image_encoder: 'not used without an image prompt.' },
}

/** Prompt embeddings, [numImagesPerPrompt, tokens, width], and pooled ones, [numImagesPerPrompt, projection]; negative ones only with guidance. */
export interface PromptEmbedsXL {
  readonly promptEmbeds: PlainTensor
  readonly negativePromptEmbeds: PlainTensor | null
  readonly pooledPromptEmbeds: PlainTensor
  readonly negativePooledPromptEmbeds: PlainTensor | null
}

/** The embeddings of one prompt, batch 1. */
interface Encoding {
  readonly hidden: PlainTensor
  readonly pooled: PlainTensor
}

const defaultSteps = 50
const defaultGuidance = 5

/** Loaded Stable Diffusion XL. */
export class StableDiffusionXLPipeline {
  readonly info: PipelineInfo
  readonly #opened: OpenedPipeline
  readonly #hosts: DeviceHosts
  readonly #encoders: readonly ClipTextEncoder[]
  readonly #unet: Network
  readonly #vae: Network
  readonly #scheduler: SchedulerSource
  readonly #forceZeros: boolean

  constructor(opened: OpenedPipeline) {
    const { parts, hosts } = opened
    this.#opened = opened
    this.#hosts = hosts
    this.#unet = networkOf(parts, 'unet')
    this.#vae = networkOf(parts, 'vae')
    latentChannels(this.#unet, this.#vae)
    this.#encoders = (['', '_2'] as const).flatMap((suffix) => clipEncoderOf(parts, hosts, suffix) ?? [])
    this.#scheduler = schedulerSource(parts.scheduler)
    this.#forceZeros = parts.index.options['force_zeros_for_empty_prompt'] !== false
    const size = this.#unet.config['sample_size']
    const edge = (typeof size === 'number' ? size : 128) * vaeScaleFactor(this.#vae)
    this.info = describePipeline(
      opened,
      { width: edge, height: edge, numInferenceSteps: defaultSteps, guidanceScale: defaultGuidance },
      describeScheduler(this.#scheduler),
    )
  }

  /** Loads a repository whose pipeline is this one. */
  static async fromPretrained(repo: string | Repository, options: OpenPipelineOptions = {}): Promise<StableDiffusionXLPipeline> {
    return new StableDiffusionXLPipeline(await openPipeline(repo, options, [stableDiffusionXLSpec]))
  }

  /** Makes images. @throws InputError, DeviceError, UnsupportedError, AbortError */
  async generate(prompt: string, options: GenerateOptions & GenerateHooks = {}): Promise<GenerateResult> {
    const run = new Run(options)
    const { guidanceScale = defaultGuidance } = options
    const factor = vaeScaleFactor(this.#vae)
    const { width, height } = resultSize(options, this.info.defaults, factor)
    checkInputs(prompt, options, { width, height }, factor)
    for (const encoder of this.#encoders) checkClipSkip(options.clipSkip, encoder.layers)
    const scheduler = prepareScheduler(this.#scheduler, options, this.info.defaults, run)
    scheduler.setBeginIndex(0)
    const recorder = new Recorder(options.capture)
    const guided = guidanceScale > 1
    const count = options.numImagesPerPrompt ?? 1
    const start = imageStart(options, scheduler, { strength: 0.3, steps: defaultSteps, partialStepRuns: false })
    return textToImage({
      options,
      start,
      hosts: this.#hosts,
      scheduler,
      latentDims: [count, latentChannels(this.#unet, this.#vae), height / factor, width / factor],
      encode: async () => {
        const embeds = await this.encodePrompt(prompt, options, guided, run)
        recorder.keep('prompt_embeds', embeds.promptEmbeds)
        recorder.keep('negative_prompt_embeds', embeds.negativePromptEmbeds)
        recorder.keep('pooled_prompt_embeds', embeds.pooledPromptEmbeds)
        recorder.keep('negative_pooled_prompt_embeds', embeds.negativePooledPromptEmbeds)
        return unetPredictor(this.#unet, this.#condition(embeds, options, [height, width], count), this.#hosts.of('unet'), run)
      },
      guidance: guided ? { scale: guidanceScale, rescale: options.guidanceRescale ?? 0 } : null,
      vae: this.#vae,
      scaling: 'scale-or-statistics',
      preview: previewCoefficients.sdxl,
      recorder,
      run,
    })
  }

  /** diffusers' `encode_prompt`. `clipSkip` counts for the prompt, not for the negative one. */
  async encodePrompt(
    prompt: string,
    options: Pick<GenerateOptions, 'prompt2' | 'negativePrompt' | 'negativePrompt2' | 'clipSkip' | 'numImagesPerPrompt'>,
    guided: boolean,
    run: Run = new Run({}),
  ): Promise<PromptEmbedsXL> {
    const { clipSkip, numImagesPerPrompt: count = 1, negativePrompt } = options
    const variant = clipSkip === undefined ? {} : { hiddenState: { index: -(clipSkip + 2), finalLayerNorm: false } }
    const positive = await this.#encode([prompt, options.prompt2 || prompt], run, variant)
    let negative: Encoding | null = null
    // No negative prompt means no condition at all in models trained that way; an empty one is encoded.
    if (guided && negativePrompt === undefined && this.#forceZeros)
      negative = { hidden: zerosLike(positive.hidden), pooled: zerosLike(positive.pooled) }
    else if (guided) {
      const first = negativePrompt ?? ''
      negative = await this.#encode([first, options.negativePrompt2 || first], run, {})
    }
    return {
      promptEmbeds: repeatBatch(positive.hidden, count),
      negativePromptEmbeds: negative === null ? null : repeatBatch(negative.hidden, count),
      pooledPromptEmbeds: repeatBatch(positive.pooled, count),
      negativePooledPromptEmbeds: negative === null ? null : repeatBatch(negative.pooled, count),
    }
  }

  /** Each encoder's penultimate hidden state side by side, and the first pooled vector. */
  async #encode(texts: readonly [string, string], run: Run, variant: GraphVariant): Promise<Encoding> {
    const hidden: PlainTensor[] = []
    let pooled: PlainTensor | null = null
    for (const [i, encoder] of this.#encoders.entries()) {
      const encoding = await encoder.encode(texts[i] ?? texts[0], 'hidden_state', run, variant)
      hidden.push(encoding.hidden)
      pooled ??= encoding.pooled
    }
    if (pooled === null)
      throw new CheckpointError('component-missing', 'No text encoder gives a pooled vector.', { component: 'text_encoder_2' })
    return { hidden: concatLast(hidden), pooled }
  }

  /** What the UNet is shown besides latents: prompt embeddings, pooled ones and SDXL's sizes. */
  #condition(
    embeds: PromptEmbedsXL,
    options: GenerateOptions,
    size: readonly [number, number],
    count: number,
  ): Record<string, PlainTensor> {
    const { originalSize = size, targetSize = size, cropsCoordsTopLeft = [0, 0] as const } = options
    const { negativeOriginalSize, negativeTargetSize, negativeCropsCoordsTopLeft = [0, 0] as const } = options
    const timeIds = [...originalSize, ...cropsCoordsTopLeft, ...targetSize]
    let negativeTimeIds = timeIds
    // diffusers' two classes differ here: image to image takes each size by itself, and the prompt's crop.
    if (options.image !== undefined)
      negativeTimeIds = [...(negativeOriginalSize ?? originalSize), ...cropsCoordsTopLeft, ...(negativeTargetSize ?? targetSize)]
    else if (negativeOriginalSize !== undefined && negativeTargetSize !== undefined)
      negativeTimeIds = [...negativeOriginalSize, ...negativeCropsCoordsTopLeft, ...negativeTargetSize]
    const { promptEmbeds, negativePromptEmbeds, pooledPromptEmbeds, negativePooledPromptEmbeds } = embeds
    const guided = negativePromptEmbeds !== null && negativePooledPromptEmbeds !== null
    const hidden = guided ? concatBatch([negativePromptEmbeds, promptEmbeds]) : promptEmbeds
    const pooled = guided ? concatBatch([negativePooledPromptEmbeds, pooledPromptEmbeds]) : pooledPromptEmbeds
    const repeat = (rows: readonly number[]) => Array.from({ length: count }, () => rows).flat()
    let repeated = repeat(timeIds)
    if (guided && options.image !== undefined) repeated = [...repeat(negativeTimeIds), ...repeated]
    // From text alone diffusers repeats the pair of rows as a whole, so with several images they alternate.
    else if (guided) repeated = repeat([...negativeTimeIds, ...timeIds])
    const batch = hidden.dims[0] ?? 1
    const addEmbeds = unetAddEmbeds(this.#unet.config, pooled.data, repeated, batch)
    return { encoder_hidden_states: hidden, add_embeds: { dims: [batch, addEmbeds.length / batch], data: addEmbeds } }
  }

  /** Gives back everything. The pipeline cannot be used again. */
  async dispose(): Promise<void> {
    await this.#hosts.dispose()
    this.#opened.close()
  }
}
