/** One generation from text, and maybe from an image: the order of work that all families share. Encode, noise, denoise, decode. */

import type { AutoencoderModel } from '../../models/types.js'
import { InputError } from '../../errors.js'
import type { Scheduler } from '../../schedulers/types.js'
import { TorchGenerator } from '../../util/random.js'
import type { ComponentHost } from '../execution/component-host.js'
import { type DeviceHosts, reportingMemory } from '../execution/device-hosts.js'
import { Denoising } from './denoise.js'
import { DeviceValues } from '../execution/device-values.js'
import type { Guidance } from './guidance.js'
import { toPixels } from './image-processor.js'
import type { PreviewCoefficients } from './latent-preview.js'
import { generationSize } from '../planning/memory-needs.js'
import type { Network } from '../bind-network.js'
import type { Predictor } from './predictor.js'
import { promptCondition, type PromptConditionOptions } from './prompt-embeds.js'
import type { GenerateHooks, Run, Recorder } from '../run.js'
import { repeatBatch } from './tensors.js'
import type { GenerateOptions, GenerateResult, PixelImage, PlainTensor } from '../types.js'
import { decodeLatents, type LatentScaling } from './vae-decode.js'
import { encodeImage } from './vae-encode.js'
import { elementCount } from '../../util/element-count.js'

/** Where an image-to-image run begins. */
export interface ImageStart {
  readonly image: PixelImage
  /** Index of the first timestep that runs. */
  readonly begin: number
}

/** What an image-to-image run takes where the caller says nothing, and how its family counts. */
export interface ImageStartDefaults {
  readonly strength: number
  readonly steps: number
  /** Whether a part of a step counts as one that runs: Stable Diffusion 3 says so, the others do not. */
  readonly partialStepRuns: boolean
}

/**
 * diffusers' `get_timesteps`: the last `strength` of the steps run. Tells the scheduler.
 * @throws InputError `strength` where it leaves no step, or is none
 */
export function imageStart(options: GenerateOptions, scheduler: Scheduler, defaults: ImageStartDefaults): ImageStart | null {
  const { image, strength = defaults.strength } = options
  if (image === undefined) return null
  const steps = (options.timesteps ?? options.sigmas)?.length ?? options.numInferenceSteps ?? defaults.steps
  const left = steps * strength
  const first = defaults.partialStepRuns ? Math.floor(steps - left) : steps - Math.floor(left)
  if (!(strength > 0 && strength <= 1) || first >= steps)
    throw new InputError(
      'strength',
      `strength is ${strength}, which leaves no step of ${steps}; allowed are numbers from ${1 / steps} to 1.`,
      {
        strength,
        allowed: 1 / steps,
      },
    )
  const begin = first * scheduler.order
  scheduler.setBeginIndex(begin)
  return { image, begin }
}

export interface TextToImage {
  readonly options: GenerateOptions & GenerateHooks
  readonly hosts: DeviceHosts
  readonly scheduler: Scheduler
  /** [batch, channels, height, width] of the latents. */
  readonly latentDims: readonly number[]
  /** The denoiser, diffusers' `encode_prompt`, and what the denoiser is shown of what that gives. */
  readonly prompt: Pick<PromptConditionOptions, 'denoiser' | 'encode' | 'inputs'>
  /** The denoiser with its condition. */
  readonly predictor: (condition: DeviceValues, host: ComponentHost) => Predictor
  /** Null: from noise alone. */
  readonly start: ImageStart | null
  readonly guidance: Guidance
  readonly vae: Network<AutoencoderModel>
  readonly scaling: LatentScaling
  readonly preview: PreviewCoefficients
  readonly recorder: Recorder
  readonly run: Run
}

/** Seconds since the last lap. */
class Stopwatch {
  #last = performance.now()

  lap(): number {
    const now = performance.now()
    const seconds = (now - this.#last) / 1000
    this.#last = now
    return seconds
  }
}

/** diffusers' `prepare_latents`: noise as torch's CPU generator draws it, times the scheduler's initial sigma. */
export function prepareLatents(dims: readonly number[], generator: TorchGenerator, initNoiseSigma: number): PlainTensor {
  const noise = generator.randn(elementCount(dims))
  return { dims, data: initNoiseSigma === 1 ? noise : noise.map((value) => value * initNoiseSigma) }
}

/** diffusers' `prepare_latents` of image to image: the image's latents, noise added as strongly as at the first timestep. */
async function latentsFromImage(
  parts: TextToImage,
  { image, begin }: ImageStart,
  generator: TorchGenerator,
): Promise<PlainTensor> {
  const { scheduler, latentDims } = parts
  const encoded = await encodeImage(parts.vae, image, parts.scaling, generator, parts.hosts.of(parts.vae.name), parts.run)
  const latents = repeatBatch(encoded, latentDims[0] ?? 1)
  const noise = generator.randn(latents.data.length)
  return { dims: latentDims, data: scheduler.addNoise(latents.data, noise, scheduler.timesteps[begin] ?? 0) }
}

/** Runs a generation. Whatever happens, nothing of it stays on the device but weights that may. */
export async function textToImage(parts: TextToImage): Promise<GenerateResult> {
  const { options, hosts, scheduler, recorder, run } = parts
  const seed = options.seed ?? crypto.getRandomValues(new Uint32Array(1))[0] ?? 0
  const generator = new TorchGenerator(seed)
  return reportingMemory(hosts, run, async () => {
    const watch = new Stopwatch()
    let predictor: Predictor | undefined
    let latents: DeviceValues<'latents'> | undefined
    try {
      const [count = 1, , height = 0, width = 0] = parts.latentDims
      await hosts.fit(generationSize({ width, height }, options, parts.guidance !== null, parts.start !== null), run)
      run.status('encoding')
      const host = hosts.of(parts.prompt.denoiser.name)
      predictor = parts.predictor(await promptCondition({ ...parts.prompt, host, count, recorder, run }), host)
      const encode = watch.lap()

      run.status('denoising')
      const initial =
        parts.start === null
          ? prepareLatents(parts.latentDims, generator, scheduler.initNoiseSigma)
          : await latentsFromImage(parts, parts.start, generator)
      recorder.keep('initial_latents', initial)
      const denoising = new Denoising({
        scheduler,
        begin: parts.start?.begin ?? 0,
        latents: initial,
        predictor,
        guidance: parts.guidance,
        eta: options.eta ?? 0,
        generator,
        recorder,
        run,
        onStep: options.onStep,
        previewEvery: options.previewEvery ?? 0,
        preview: parts.preview,
      })
      latents = finalLatents(parts, denoising, predictor)
      await latents.get()
      const denoisingSeconds = watch.lap()

      run.status('decoding')
      const images = await decodeLatents(parts.vae, latents, parts.scaling, hosts.of(parts.vae.name), run)
      recorder.keep('image', images)
      const timings = { encode, denoise: denoisingSeconds, decode: watch.lap() }
      run.status('complete')
      const { captured } = recorder
      return {
        images: toPixels(images),
        seed,
        timings,
        warnings: [...run.warnings],
        ...(captured === undefined ? {} : { captured }),
      }
    } finally {
      latents?.release()
      predictor?.release()
      await hosts.settle()
    }
  })
}

/** The latents after the last step on the autoencoder's device. Nothing else of the denoising stays there. */
function finalLatents({ hosts, vae, run }: TextToImage, denoising: Denoising, predictor: Predictor): DeviceValues<'latents'> {
  const [from, to] = [hosts.of(predictor.name), hosts.of(vae.name)]
  return new DeviceValues(to, async () => {
    const made = await denoising.run(async (last) => from.handOver(last, to))
    predictor.release()
    const latents = 'read' in made ? made : await to.recovering(vae, run, async () => to.device.upload(made, vae.name))
    return { latents }
  })
}
