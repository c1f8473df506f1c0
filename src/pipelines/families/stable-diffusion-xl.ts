/**
 * StableDiffusionXLPipeline: Stable Diffusion XL and its descendants. Mirrors diffusers' class of that name, and with `image` its
 * StableDiffusionXLImg2ImgPipeline.
 */

import type { AutoencoderModel, DenoiserModel, GraphVariant } from '../../models/types.js'
import { CheckpointError } from '../../errors.js'
import { AutoencoderKL } from '../../models/autoencoders/autoencoder-kl.js'
import { CLIPTextModel, CLIPTextModelWithProjection } from '../../models/text-encoders/clip-text-model.js'
import { UNet2DConditionModel, unetTimeIdEmbeds } from '../../models/unets/unet-2d-condition.js'
import type { DeviceTensor } from '../../runtime/types.js'
import { CLIPTokenizer } from '../../tokenizers/clip-tokenizer.js'
import { checkInputs, resultSize } from '../check-inputs.js'
import { checkClipSkip, type ClipTextEncoder } from '../generation/clip-text-encoder.js'
import type { Value } from '../execution/component-host.js'
import { float32Tensor } from '../generation/tensors.js'
import type { DeviceHosts } from '../execution/device-hosts.js'
import { previewCoefficients } from '../generation/latent-preview.js'
import { configOf, type Network } from '../bind-network.js'
import { describePipeline, type OpenedPipeline } from '../loading/open-pipeline.js'
import { clipEncoderOf, latentChannels, networkOf } from '../generation/parts.js'
import type { PipelineSpec } from '../loading/read-parts.js'
import {
  assembleBatch,
  batchPieces,
  emptyPrompt,
  sideBySide,
  type EncodeCall,
  type EncodedPrompt,
  type EncodedPrompts,
} from '../generation/prompt-embeds.js'
import { Run, type GenerateHooks, Recorder } from '../run.js'
import { describeScheduler, prepareScheduler, schedulerSource, type SchedulerSource } from '../generation/schedule.js'
import type { GenerateOptions, GenerateResult, PipelineInfo } from '../types.js'
import { imageStart } from '../generation/image-start.js'
import { textToImage } from '../generation/text-to-image.js'
import { unetPredictor } from '../generation/unet-predictor.js'
import type { Device } from '../../runtime/device.js'

/** What the pipeline is made of. */
export const stableDiffusionXLSpec: PipelineSpec = {
  className: 'StableDiffusionXLPipeline',
  networks: {
    text_encoder: [CLIPTextModel],
    text_encoder_2: [CLIPTextModelWithProjection],
    unet: [UNet2DConditionModel],
    vae: [AutoencoderKL],
  },
  tokenizers: { tokenizer: [CLIPTokenizer], tokenizer_2: [CLIPTokenizer] },
  optional: ['text_encoder', 'feature_extractor', 'image_encoder'],
  ignored: { feature_extractor: 'not used without an image prompt.', image_encoder: 'not used without an image prompt.' },
}

const defaultSteps = 50
const defaultGuidance = 5

/** Loaded Stable Diffusion XL. */
export class StableDiffusionXLPipeline {
  readonly info: PipelineInfo
  readonly #opened: OpenedPipeline
  readonly #hosts: DeviceHosts
  readonly #encoders: readonly ClipTextEncoder[]
  readonly #unet: Network<DenoiserModel>
  readonly #vae: Network<AutoencoderModel>
  readonly #scheduler: SchedulerSource
  readonly #forceZeros: boolean

  constructor(opened: OpenedPipeline) {
    const { parts, hosts } = opened
    this.#opened = opened
    this.#hosts = hosts
    this.#unet = networkOf(parts, 'unet', 'denoiser')
    this.#vae = networkOf(parts, 'vae', 'autoencoder')
    latentChannels(this.#unet, this.#vae)
    this.#encoders = (['', '_2'] as const).flatMap((suffix) => clipEncoderOf(parts, hosts, suffix) ?? [])
    this.#scheduler = schedulerSource(parts.scheduler)
    this.#forceZeros = parts.layout.options['force_zeros_for_empty_prompt'] !== false
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
      prompt: {
        denoiser: this.#unet,
        encode: (call) => this.#encodePrompt(prompt, options, guided, call),
        inputs: (device, prompts) => this.#condition(device, prompts, options, [height, width], count),
      },
      predictor: (condition, host) => unetPredictor(this.#unet, condition, host, run),
      guidance: guided ? { scale: guidanceScale, rescale: options.guidanceRescale ?? 0 } : null,
      vae: this.#vae,
      scaling: 'scale-or-statistics',
      preview: previewCoefficients.sdxl,
      recorder,
      run,
    })
  }

  /** diffusers' `encode_prompt`. `clipSkip` counts for the prompt, not for the negative one. */
  async #encodePrompt(
    prompt: string,
    options: Pick<GenerateOptions, 'prompt2' | 'negativePrompt' | 'negativePrompt2' | 'clipSkip'>,
    guided: boolean,
    call: EncodeCall,
  ): Promise<EncodedPrompts> {
    const { clipSkip, negativePrompt, prompt2, negativePrompt2 } = options
    const variant = clipSkip === undefined ? {} : { hiddenStates: [{ index: -(clipSkip + 2), finalLayerNorm: false }] }
    const positive = await this.#encode([prompt, prompt2 || prompt], call, variant)
    if (!guided) return { positive, negative: null }
    // No negative prompt means no condition at all in models trained that way; an empty one is encoded.
    if (negativePrompt === undefined && this.#forceZeros) return { positive, negative: emptyPrompt(positive) }
    const first = negativePrompt ?? ''
    return { positive, negative: await this.#encode([first, negativePrompt2 || first], call, {}) }
  }

  /** Each encoder's penultimate hidden state side by side, and the first pooled vector. */
  async #encode(texts: readonly [string, string], call: EncodeCall, variant: GraphVariant): Promise<EncodedPrompt> {
    const hidden: Value[] = []
    let first: Value | null = null
    for (const [i, encoder] of this.#encoders.entries()) {
      const encoding = await encoder.encode(texts[i] ?? texts[0], 'hidden_state', call, variant)
      hidden.push(encoding.hidden)
      first ??= encoding.pooled
    }
    if (first === null)
      throw new CheckpointError('component-missing', 'No text encoder has a pooled output.', { component: 'text_encoder_2' })
    return { embeds: sideBySide(hidden), pooled: sideBySide([first]) }
  }

  /** What the UNet is shown besides latents: prompt embeddings, pooled ones and SDXL's sizes. */
  #condition(
    device: Device,
    prompts: readonly EncodedPrompt[],
    options: GenerateOptions,
    size: readonly [number, number],
    count: number,
  ): Record<string, DeviceTensor> {
    const { originalSize = size, targetSize = size, cropsCoordsTopLeft = [0, 0] as const } = options
    const { negativeOriginalSize, negativeTargetSize, negativeCropsCoordsTopLeft = [0, 0] as const } = options
    const timeIds = [...originalSize, ...cropsCoordsTopLeft, ...targetSize]
    let negativeTimeIds = timeIds
    // diffusers' two classes differ here: image to image takes each size by itself, and the prompt's crop.
    if (options.image !== undefined)
      negativeTimeIds = [...(negativeOriginalSize ?? originalSize), ...cropsCoordsTopLeft, ...(negativeTargetSize ?? targetSize)]
    else if (negativeOriginalSize !== undefined && negativeTargetSize !== undefined)
      negativeTimeIds = [...negativeOriginalSize, ...negativeCropsCoordsTopLeft, ...negativeTargetSize]
    const guided = prompts.length === 2
    const repeat = (rows: readonly number[]) => Array.from({ length: count }, () => rows).flat()
    let repeated = repeat(timeIds)
    if (guided && options.image !== undefined) repeated = [...repeat(negativeTimeIds), ...repeated]
    // From text alone diffusers repeats the pair of rows as a whole, so with several images they alternate.
    else if (guided) repeated = repeat([...negativeTimeIds, ...timeIds])
    const batch = prompts.length * count
    const pooled = prompts.flatMap((one) => one.pooled ?? [])
    const [width = 0] = pooled[0]?.dims ?? []
    const times = unetTimeIdEmbeds(configOf(this.#unet, UNet2DConditionModel), repeated, batch, width)
    const timeWidth = times.length / batch
    const pieces = [...batchPieces(pooled, count), { tensor: float32Tensor([batch, timeWidth], times), at: [0, width] }]
    const embeds = prompts.map((one) => one.embeds)
    return {
      encoder_hidden_states: assembleBatch(device, embeds, count, this.#unet.name),
      add_embeds: device.assemble(pieces, [batch, width + timeWidth], this.#unet.name),
    }
  }

  /** Gives back everything. The pipeline cannot be used again. */
  async dispose(): Promise<void> {
    await this.#hosts.dispose()
    this.#opened.close()
  }
}
