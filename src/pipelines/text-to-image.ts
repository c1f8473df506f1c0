/** One generation from text, the order of work that all families share: encode, noise, denoise, decode. */

import type { Scheduler } from '../schedulers/types.js'
import { TorchGenerator } from '../util/random.js'
import type { ComponentHost } from './component-host.js'
import { denoise } from './denoise.js'
import { toPixels } from './image-processor.js'
import type { PreviewCoefficients } from './latent-preview.js'
import type { Network } from './networks.js'
import { reportingMemory } from './open-pipeline.js'
import type { Predictor } from './predictor.js'
import type { Recorder } from './recorder.js'
import type { GenerateHooks, Run } from './run-hooks.js'
import type { GenerateOptions, GenerateResult, PlainTensor } from './types.js'
import { decodeLatents, type LatentScaling } from './vae-decoder.js'

export interface TextToImage {
  readonly options: GenerateOptions & GenerateHooks
  readonly host: ComponentHost
  readonly scheduler: Scheduler
  /** [batch, channels, height, width] of the latents. */
  readonly latentDims: readonly number[]
  /** diffusers' `encode_prompt` and what follows from it: the denoiser with its condition. */
  readonly encode: () => Promise<Predictor>
  /** Null: no guidance. */
  readonly guidance: { readonly scale: number; readonly rescale: number } | null
  readonly vae: Network
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
  const noise = generator.randn(dims.reduce((product, dim) => product * dim, 1))
  return { dims, data: initNoiseSigma === 1 ? noise : noise.map((value) => value * initNoiseSigma) }
}

/** Runs a generation. Whatever happens, nothing of it stays on the device but weights that may. */
export async function textToImage(parts: TextToImage): Promise<GenerateResult> {
  const { options, host, scheduler, recorder, run } = parts
  const seed = options.seed ?? crypto.getRandomValues(new Uint32Array(1))[0] ?? 0
  const generator = new TorchGenerator(seed)
  return reportingMemory(host, run, async () => {
    const watch = new Stopwatch()
    let predictor: Predictor | undefined
    try {
      run.status('encoding')
      predictor = await parts.encode()
      const encode = watch.lap()

      run.status('denoising')
      const initial = prepareLatents(parts.latentDims, generator, scheduler.initNoiseSigma)
      recorder.keep('initial_latents', initial)
      const latents = await denoise({
        scheduler,
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
      predictor.dispose()
      predictor = undefined
      const denoising = watch.lap()

      run.status('decoding')
      const images = await decodeLatents(parts.vae, latents, parts.scaling, host, run)
      recorder.keep('image', images)
      const timings = { encode, denoise: denoising, decode: watch.lap() }
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
      predictor?.dispose()
      await host.settle()
    }
  })
}
