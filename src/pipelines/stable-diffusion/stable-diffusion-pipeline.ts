/** StableDiffusionPipeline: Stable Diffusion 1.x and 2.x, text to image. Mirrors diffusers' class of that name. */

import type { Config } from '../../checkpoint/types.js'
import { CheckpointError, UnsupportedError } from '../../errors.js'
import type { Repository } from '../../hub/types.js'
import { TorchGenerator } from '../../util/random.js'
import { checkInputs } from '../check-inputs.js'
import { checkClipSkip, ClipTextEncoder } from '../clip-text-encoder.js'
import type { ComponentHost } from '../component-host.js'
import { denoise } from '../denoise.js'
import { chooseSeed, finish, prepareLatents, Stopwatch } from '../generation.js'
import { previewCoefficients } from '../latent-preview.js'
import type { Network } from '../networks.js'
import {
  describePipeline,
  openPipeline,
  reportingMemory,
  type OpenedPipeline,
  type OpenPipelineOptions,
} from '../open-pipeline.js'
import type { PipelineSpec } from '../pipeline-loading.js'
import { Recorder } from '../recorder.js'
import { Run, type GenerateHooks } from '../run-hooks.js'
import { describeScheduler, mendedSchedulerSource, prepareScheduler, type SchedulerSource } from '../schedule.js'
import { concatBatch, repeatBatch } from '../tensors.js'
import type { GenerateOptions, GenerateResult, PipelineInfo, PlainTensor } from '../types.js'
import { UnetPredictor } from '../unet-predictor.js'
import { decodeLatents, vaeScaleFactor } from '../vae-decoder.js'

/** What the pipeline is made of. */
export const stableDiffusionSpec: PipelineSpec = {
  className: 'StableDiffusionPipeline',
  networks: { text_encoder: ['CLIPTextModel'], unet: ['UNet2DConditionModel'], vae: ['AutoencoderKL'] },
  tokenizers: { tokenizer: 'text_encoder' },
  optional: ['safety_checker', 'feature_extractor', 'image_encoder'],
  ignored: {
    safety_checker: 'images are not checked for content that is not safe for work; that is left to the page.',
    feature_extractor: 'not used without a safety checker.',
    image_encoder: 'not used without an image prompt.',
  },
}

/** Prompt embeddings, [numImagesPerPrompt, tokens, width]; negative ones only with guidance. */
export interface PromptEmbeds {
  readonly promptEmbeds: PlainTensor
  readonly negativePromptEmbeds: PlainTensor | null
}

const defaultSteps = 50
const defaultGuidance = 7.5

/** A network that the spec requires. */
export function networkOf(parts: OpenedPipeline['parts'], name: string): Network {
  const network = parts.networks.get(name)
  if (network === undefined) throw new CheckpointError('component-missing', `The pipeline has no ${name}.`, { component: name })
  return network
}

/** The UNet's channels of latents, which must be the autoencoder's. @throws UnsupportedError `unsupported-config` */
export function latentChannels(unet: Network, vae: Network): number {
  const channels = unet.config['in_channels'] ?? 4
  const own = vae.config['latent_channels'] ?? 4
  if (channels !== own || typeof channels !== 'number')
    throw new UnsupportedError(
      'unsupported-config',
      `in_channels ${String(channels)} of the UNet is not supported by a text-to-image pipeline; supported: ${String(own)}, the autoencoder's latent channels.`,
      { className: unet.className, key: 'in_channels', value: String(channels), allowed: [String(own)] },
    )
  return channels
}

/** Loaded Stable Diffusion. */
export class StableDiffusionPipeline {
  readonly info: PipelineInfo
  readonly #opened: OpenedPipeline
  readonly #host: ComponentHost
  readonly #encoder: ClipTextEncoder
  readonly #unet: Network
  readonly #vae: Network
  readonly #scheduler: SchedulerSource

  constructor(opened: OpenedPipeline) {
    const { parts, host } = opened
    this.#opened = opened
    this.#host = host
    this.#unet = networkOf(parts, 'unet')
    this.#vae = networkOf(parts, 'vae')
    latentChannels(this.#unet, this.#vae)
    const tokenizer = parts.tokenizers.get('tokenizer')
    if (tokenizer === undefined)
      throw new CheckpointError('component-missing', 'The pipeline has no tokenizer.', { component: 'tokenizer' })
    this.#encoder = new ClipTextEncoder(networkOf(parts, 'text_encoder'), tokenizer, host)
    this.#scheduler = mendedSchedulerSource(parts.scheduler)
    const factor = vaeScaleFactor(this.#vae)
    const [height, width] = sampleSize(this.#unet.config)
    this.info = describePipeline(
      opened,
      { width: width * factor, height: height * factor, numInferenceSteps: defaultSteps, guidanceScale: defaultGuidance },
      describeScheduler(this.#scheduler),
    )
  }

  /** Loads a repository whose pipeline is this one. */
  static async fromPretrained(repo: string | Repository, options: OpenPipelineOptions = {}): Promise<StableDiffusionPipeline> {
    return new StableDiffusionPipeline(await openPipeline(repo, options, [stableDiffusionSpec]))
  }

  /** Makes images. @throws InputError, DeviceError, UnsupportedError, AbortError */
  async generate(prompt: string, options: GenerateOptions & GenerateHooks = {}): Promise<GenerateResult> {
    const run = new Run(options)
    const { width = this.info.defaults.width, height = this.info.defaults.height, guidanceScale = defaultGuidance } = options
    const factor = vaeScaleFactor(this.#vae)
    checkInputs(prompt, options, { width, height }, factor)
    checkClipSkip(options.clipSkip, this.#encoder.layers)
    const scheduler = prepareScheduler(this.#scheduler, options, this.info.defaults, run)
    const recorder = new Recorder(options.capture)
    const seed = chooseSeed(options.seed)
    const generator = new TorchGenerator(seed)
    const guided = guidanceScale > 1
    const count = options.numImagesPerPrompt ?? 1

    return reportingMemory(this.#host, run, async () => {
      const watch = new Stopwatch()
      try {
        run.status('encoding')
        const embeds = await this.encodePrompt(prompt, options, guided, run)
        recorder.keep('prompt_embeds', embeds.promptEmbeds)
        recorder.keep('negative_prompt_embeds', embeds.negativePromptEmbeds)
        const encode = watch.lap()

        run.status('denoising')
        const dims = [count, latentChannels(this.#unet, this.#vae), height / factor, width / factor]
        const initial = prepareLatents(dims, generator, scheduler.initNoiseSigma)
        recorder.keep('initial_latents', initial)
        const { promptEmbeds, negativePromptEmbeds } = embeds
        const condition = negativePromptEmbeds === null ? promptEmbeds : concatBatch([negativePromptEmbeds, promptEmbeds])
        const predictor = new UnetPredictor(this.#unet, { encoder_hidden_states: condition }, this.#host, run)
        let latents: PlainTensor
        try {
          latents = await denoise({
            scheduler,
            latents: initial,
            predict: (sample, timestep) => predictor.predict(sample, timestep),
            guidance: guided ? { scale: guidanceScale, rescale: options.guidanceRescale ?? 0 } : null,
            eta: options.eta ?? 0,
            generator,
            recorder,
            run,
            onStep: options.onStep,
            previewEvery: options.previewEvery ?? 0,
            preview: previewCoefficients.sd,
          })
        } finally {
          predictor.dispose()
        }
        const denoising = watch.lap()

        run.status('decoding')
        const images = await decodeLatents(this.#vae, latents, 'scale', this.#host, run)
        return finish(images, seed, { encode, denoise: denoising, decode: watch.lap() }, recorder, run)
      } finally {
        await this.#host.settle()
      }
    })
  }

  /** diffusers' `encode_prompt`. `clipSkip` counts for the prompt, not for the negative one. */
  async encodePrompt(
    prompt: string,
    options: Pick<GenerateOptions, 'negativePrompt' | 'clipSkip' | 'numImagesPerPrompt'>,
    guided: boolean,
    run: Run = new Run({}),
  ): Promise<PromptEmbeds> {
    const { clipSkip, numImagesPerPrompt: count = 1 } = options
    // One variant of the graph gives both outputs.
    const variant = clipSkip === undefined ? {} : { hiddenState: { index: -(clipSkip + 1), finalLayerNorm: true } }
    const output = clipSkip === undefined ? 'last_hidden_state' : 'hidden_state'
    const positive = await this.#encoder.encode(prompt, output, run, variant)
    const negative = guided ? await this.#encoder.encode(options.negativePrompt ?? '', 'last_hidden_state', run, variant) : null
    return {
      promptEmbeds: repeatBatch(positive.hidden, count),
      negativePromptEmbeds: negative === null ? null : repeatBatch(negative.hidden, count),
    }
  }

  /** Gives back everything. The pipeline cannot be used again. */
  async dispose(): Promise<void> {
    await this.#host.dispose()
    this.#opened.close()
  }
}

/** `sample_size` of a UNet, [height, width] in latent pixels. */
function sampleSize(config: Config): readonly [number, number] {
  const size = config['sample_size']
  if (Array.isArray(size) && typeof size[0] === 'number' && typeof size[1] === 'number') return [size[0], size[1]]
  const edge = typeof size === 'number' ? size : 64
  // Configs of before diffusers 0.9 say 32 and mean 64.
  const version = /^(\d+)\.(\d+)/.exec(String(config['_diffusers_version'] ?? ''))
  const old = version !== null && Number(version[1]) === 0 && Number(version[2]) < 9
  return old && edge < 64 ? [64, 64] : [edge, edge]
}
