/**
 * The three phases of a generation, as in diffusers' pipelines: encode the prompt, denoise, decode. Each can run again. This file keeps the result of
 * a phase for the next one while it is valid, so that after a failure only the necessary phases run again.
 */

import type { DeviceTensor } from '../../runtime/types.js'
import type { Scheduler } from '../../schedulers/types.js'
import { elementCount } from '../../util/element-count.js'
import type { TorchGenerator } from '../../util/random.js'
import type { AutoencoderModel, DenoiserModel, Extent } from '../../models/types.js'
import type { Network } from '../bind-network.js'
import type { ComponentHost, Value } from '../execution/component-host.js'
import type { DeviceHosts } from '../execution/device-hosts.js'
import { failuresOf } from '../execution/recovery.js'
import type { Recorder, GenerateHooks, Run } from '../run.js'
import type { GenerateOptions, PlainTensor } from '../types.js'
import { Checkpoints } from './checkpoints.js'
import { denoise } from './denoise.js'
import type { Guidance } from './guidance.js'
import type { ImageStart } from './image-start.js'
import type { PreviewCoefficients } from '../images/latent-preview.js'
import type { Predictor } from './predictor.js'
import { promptCondition, type Condition, type PromptConditionOptions } from '../prompts/prompt-embeds.js'
import { repeatBatch, withTemporary, type Keep } from '../tensors.js'
import type { ChannelScale } from '../images/latent-scaling.js'
import { decodePreview, type PreviewDecoder } from '../images/step-preview.js'
import { decodeLatents } from '../images/vae-decode.js'
import { encodeImage } from '../images/vae-encode.js'
import { VaeTiles } from '../images/vae-tiles.js'

/** The parts that a generation needs. */
export interface TextToImage {
  readonly options: GenerateOptions & GenerateHooks
  readonly hosts: DeviceHosts
  readonly scheduler: Scheduler
  /** [batch, channels, height, width] of the latents. */
  readonly latentDims: readonly number[]
  readonly denoiser: Network<DenoiserModel>
  /** diffusers' `encode_prompt`. */
  readonly encodePrompt: PromptConditionOptions['encode']
  /** The denoiser's inputs that stay from step to step, made from the encoded prompt. */
  readonly condition: PromptConditionOptions['inputs']
  /** Makes the denoiser with its condition, and passes tensors that it creates to `keep`. */
  readonly predictor: (condition: Condition, host: ComponentHost, keep: Keep) => Predictor
  /** Null: the run starts from noise alone. */
  readonly start: ImageStart | null
  /** Sizes of the reference images, in latent pixels. */
  readonly references: readonly Extent[]
  readonly guidance: Guidance
  readonly vae: Network<AutoencoderModel>
  /** The scale of each channel from the denoiser's latents to the autoencoder's. */
  readonly latentScales: readonly ChannelScale[]
  readonly preview: PreviewCoefficients
  /** The network that decodes previews. Absent: previews are computed with the coefficients in `preview`. */
  readonly previewDecoder?: PreviewDecoder | undefined
  readonly recorder: Recorder
  readonly run: Run
}

/** diffusers' `prepare_latents`: noise as torch's CPU generator draws it, times the scheduler's initial sigma. */
export function prepareLatents(dims: readonly number[], generator: TorchGenerator, initNoiseSigma: number): PlainTensor {
  const noise = generator.randn(elementCount(dims))
  return { dims, data: initNoiseSigma === 1 ? noise : noise.map((value) => value * initNoiseSigma) }
}

export class GenerationPhases {
  /** Seconds spent in each phase, including repetitions after a failure. */
  readonly seconds = { encode: 0, denoise: 0, decode: 0 }
  readonly #parts: TextToImage
  readonly #generator: TorchGenerator
  readonly #denoiserHost: ComponentHost
  readonly #vaeHost: ComponentHost
  readonly #tiles: VaeTiles
  /** The conditioning tensors of the prompt, on the denoiser's device. Kept from the end of encoding until denoising ends. */
  #condition: Condition | undefined
  /** The checkpoints of the denoising loop, in host memory. */
  #checkpoints: Checkpoints | undefined
  /** The latents after the last step: on the autoencoder's device if the denoiser is there too, otherwise in host memory. */
  #latents: Value | undefined
  /** The images that have been decoded. */
  readonly #images: PlainTensor[] = []

  constructor(parts: TextToImage, generator: TorchGenerator) {
    const { hosts, denoiser, vae, run } = parts
    this.#parts = parts
    this.#generator = generator
    this.#denoiserHost = hosts.of(denoiser.name)
    this.#vaeHost = hosts.of(vae.name)
    this.#tiles = new VaeTiles(vae, this.#vaeHost, run)
  }

  /**
   * Runs the phases whose results are missing. After a recovered failure, call it again.
   * @returns the images, [batch, height, width, channels] in 0…1
   */
  async run(): Promise<PlainTensor> {
    this.#forgetLost()
    if (this.#latents === undefined) {
      const condition = (this.#condition ??= await this.#timed('encode', () => this.#encode()))
      this.#latents = await this.#timed('denoise', () => this.#denoise(condition))
      this.#releaseCondition()
    }
    const latents = this.#latents
    return this.#timed('decode', () => this.#decode(latents))
  }

  /** Frees the device memory of the phases' results. */
  release(): void {
    this.#releaseCondition()
    if (isOnDevice(this.#latents)) this.#latents.dispose()
    this.#latents = undefined
  }

  #encode(): Promise<Condition> {
    const { latentDims, denoiser, encodePrompt: encode, condition: inputs, recorder, run } = this.#parts
    run.status('encoding')
    const [images = 1] = latentDims
    const host = this.#denoiserHost
    return failuresOf({ host, network: denoiser }, () =>
      promptCondition({ denoiser, encode, inputs, host, images, recorder, run }),
    )
  }

  async #denoise(condition: Condition): Promise<Value> {
    const { options, scheduler, denoiser, predictor, start, guidance, preview, previewDecoder, recorder, run } = this.#parts
    run.status('denoising')
    const begin = start?.begin ?? 0
    this.#checkpoints ??= new Checkpoints(await this.#initialLatents(), begin, this.#generator)
    const checkpoints = this.#checkpoints
    const host = this.#denoiserHost
    return failuresOf({ host, network: denoiser }, () =>
      withTemporary(async (keep) => {
        const latents = await denoise(
          {
            scheduler,
            begin,
            predictor: predictor(condition, host, keep),
            guidance,
            eta: options.eta ?? 0,
            recorder,
            run,
            onStep: options.onStep,
            previewEvery: options.previewEvery ?? 0,
            preview,
            decodePreview: previewDecoder && ((latents, scale) => decodePreview(previewDecoder, latents, scale, host, run)),
          },
          checkpoints,
        )
        return host.handOver(latents, this.#vaeHost)
      }),
    )
  }

  async #decode(latents: Value): Promise<PlainTensor> {
    const { vae, latentScales, recorder, run } = this.#parts
    run.status('decoding')
    const host = this.#vaeHost
    const images = await failuresOf({ host, network: vae, part: 'decoder' }, () =>
      decodeLatents(vae, latents, latentScales, host, run, this.#tiles, this.#images),
    )
    recorder.keep('image', images)
    return images
  }

  /** diffusers' `prepare_latents`: noise, or the start image's latents with the noise of the first timestep added. */
  async #initialLatents(): Promise<PlainTensor> {
    const { scheduler, latentDims, start, vae, latentScales, recorder, run } = this.#parts
    const generator = this.#generator
    let initial: PlainTensor
    if (start === null) initial = prepareLatents(latentDims, generator, scheduler.initNoiseSigma)
    else {
      const host = this.#vaeHost
      const encoded = await failuresOf({ host, network: vae, part: 'encoder' }, () =>
        encodeImage(vae, start.image, latentScales, generator, host, run, this.#tiles),
      )
      const { data } = repeatBatch(encoded, latentDims[0] ?? 1)
      const noise = generator.randn(data.length)
      initial = { dims: latentDims, data: scheduler.addNoise(data, noise, scheduler.timesteps[start.begin] ?? 0) }
    }
    recorder.keep('initial_latents', initial)
    return initial
  }

  /** Forgets results on a device that was replaced. Their buffers are gone. */
  #forgetLost(): void {
    const { device } = this.#denoiserHost
    if (!Object.values(this.#condition ?? {}).every((tensor) => device.holds(tensor))) this.#releaseCondition()
    if (isOnDevice(this.#latents) && !this.#vaeHost.device.holds(this.#latents)) this.#latents = undefined
  }

  #releaseCondition(): void {
    for (const tensor of Object.values(this.#condition ?? {})) tensor.dispose()
    this.#condition = undefined
  }

  async #timed<T>(phase: 'encode' | 'denoise' | 'decode', work: () => Promise<T>): Promise<T> {
    const begun = performance.now()
    try {
      return await work()
    } finally {
      this.seconds[phase] += (performance.now() - begun) / 1000
    }
  }
}

function isOnDevice(value: Value | undefined): value is DeviceTensor {
  return value !== undefined && 'read' in value
}
