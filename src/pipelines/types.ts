/** What a pipeline takes and gives, in diffusers' words. Only types; they are the public API's and cross the worker boundary as plain data. */

import type { FileProgress } from '../hub/types.js'
import type { DeviceInfo, DeviceKind, MemorySnapshot } from '../runtime/types.js'

/** A component of one repository used in place of another's, as `fromPretrained(repo, { unet: … })` in diffusers. */
export interface ComponentReference {
  readonly repo: string
  readonly revision?: string | undefined
  readonly subfolder?: string | undefined
  readonly variant?: string | undefined
}

/** The type that a network computes in. */
export type DTypeName = 'float32' | 'float16'

/** Linear weights in blocks of 32, 8 or 4 bits each; the rest in float16. */
export type QuantizationName = 'q8' | 'q4'

/** What weights can be on the device. */
export type WeightsDType = DTypeName | QuantizationName

/** Where a component's weights are, and when. */
export type OffloadMode = 'auto' | 'resident' | 'model' | 'block'

/** Options of `DiffusionPipeline.fromPretrained` that are plain data (callbacks and signals are the client's). */
export interface LoadPipelineOptions {
  readonly revision?: string | undefined
  readonly variant?: string | undefined
  readonly token?: string | undefined
  /** Base URL of a Hub or of its mirror. */
  readonly endpoint?: string | undefined
  /** Ask for the newest of a branch or host even when all is cached. By default a cached model makes no request, and stays as it is. */
  readonly revalidate?: boolean | undefined
  /**
   * The type of the weights, for all networks or by component, as `{ text_encoder_3: 'q4', transformer: 'q8' }`; by default what they are
   * stored in, where the device can. Quantised ones are made once and kept in the cache beside the original.
   */
  readonly dtype?: WeightsDType | Readonly<Record<string, WeightsDType>> | undefined
  /** `auto`: a real GPU if there is one, else wasm. */
  readonly device?: DeviceKind | 'auto' | undefined
  readonly offload?: OffloadMode | undefined
  /** A budget for GPU buffers, in bytes or as '6GB' (10^9) or '6GiB'. */
  readonly maxMemory?: number | string | undefined
  /** As diffusers' `enable_vae_tiling`: decode in overlapping tiles. By default only where an image would not fit as a whole. */
  readonly vaeTiling?: boolean | undefined
  /** Component name → a repository id or reference, or null to leave the component out. */
  readonly components?: Readonly<Record<string, string | ComponentReference | null>> | undefined
  /** A scheduler in place of the repository's, made from its config: also where the repository's class is not supported. */
  readonly scheduler?: SchedulerReference | undefined
}

/** A scheduler by its diffusers class, made from the repository's config with these keys changed (`from_config`). */
export interface SchedulerReference {
  readonly className: string
  readonly config?: Readonly<Record<string, unknown>> | undefined
}

/** Options of `generate`, diffusers' arguments in camelCase. Sizes in pixels. */
export interface GenerateOptions {
  readonly prompt2?: string | undefined
  readonly negativePrompt?: string | undefined
  readonly negativePrompt2?: string | undefined
  readonly numInferenceSteps?: number | undefined
  readonly guidanceScale?: number | undefined
  readonly guidanceRescale?: number | undefined
  readonly width?: number | undefined
  readonly height?: number | undefined
  readonly numImagesPerPrompt?: number | undefined
  /** Image to image: what the run starts from. Its sizes are the result's, and multiples of the autoencoder's factor (8). */
  readonly image?: PixelImage | undefined
  /** How much of the image is made anew: the part of the steps that runs, above 0 up to 1. */
  readonly strength?: number | undefined
  /** As `torch.Generator('cpu').manual_seed(seed)`; drawn at random and reported when absent. */
  readonly seed?: number | undefined
  readonly eta?: number | undefined
  readonly clipSkip?: number | undefined
  /** The schedule itself instead of a number of steps, for schedulers that take one: one of the two. */
  readonly timesteps?: readonly number[] | undefined
  readonly sigmas?: readonly number[] | undefined
  /** Stable Diffusion 3: the prompts of the third text encoder (T5), and how many of its tokens are used (256). */
  readonly prompt3?: string | undefined
  readonly negativePrompt3?: string | undefined
  readonly maxSequenceLength?: number | undefined
  /** Stable Diffusion 3.5: blocks left out in a second prediction to steer away from, its weight, and the part of the steps it runs in. */
  readonly skipGuidanceLayers?: readonly number[] | undefined
  readonly skipLayerGuidanceScale?: number | undefined
  readonly skipLayerGuidanceStop?: number | undefined
  readonly skipLayerGuidanceStart?: number | undefined
  /** SDXL's micro-conditioning: [height, width] and [top, left], as diffusers orders them. */
  readonly originalSize?: readonly [number, number] | undefined
  readonly cropsCoordsTopLeft?: readonly [number, number] | undefined
  readonly targetSize?: readonly [number, number] | undefined
  readonly negativeOriginalSize?: readonly [number, number] | undefined
  readonly negativeCropsCoordsTopLeft?: readonly [number, number] | undefined
  readonly negativeTargetSize?: readonly [number, number] | undefined
  readonly scheduler?: SchedulerReference | undefined
  /** Names of tensors to hand to `onStep` / the result, for checking against diffusers: see {@link CapturedTensors}. */
  readonly capture?: readonly CapturedTensorName[] | undefined
  /** Send a small RGBA preview made from the latents with every n-th step. 0: never. */
  readonly previewEvery?: number | undefined
}

export type CapturedTensorName =
  | 'prompt_embeds'
  | 'negative_prompt_embeds'
  | 'pooled_prompt_embeds'
  | 'negative_pooled_prompt_embeds'
  | 'initial_latents'
  | 'timesteps'
  | 'noise_pred'
  | 'latents'
  | 'image'

/** A float32 tensor on the host. */
export interface PlainTensor {
  readonly dims: readonly number[]
  readonly data: Float32Array<ArrayBuffer>
}

/** Tensors by diffusers' names; per-step ones as `noise_pred_<i>` and `latents_<i>`. */
export type CapturedTensors = Readonly<Record<string, PlainTensor>>

/** 8-bit RGBA pixels, row by row from the top left. */
export interface PixelImage {
  readonly width: number
  readonly height: number
  readonly data: Uint8ClampedArray<ArrayBuffer>
}

/** What is going on, for a page to show. */
export type PipelineProgress =
  | { readonly type: 'status'; readonly phase: PipelinePhase; readonly component?: string | undefined }
  | { readonly type: 'file'; readonly component: string; readonly file: FileProgress }
  | { readonly type: 'weights'; readonly component: string; readonly loaded: number; readonly total: number }
  | { readonly type: 'memory'; readonly memory: MemorySnapshot }
  | { readonly type: 'warning'; readonly code: string; readonly message: string }

export type PipelinePhase = 'resolving' | 'downloading' | 'ready' | 'encoding' | 'denoising' | 'decoding' | 'complete'

/** After a denoising step. */
export interface StepInfo {
  /** 0-based index of the step just done, and how many there are. */
  readonly step: number
  readonly total: number
  readonly timestep: number
  readonly preview?: PixelImage | undefined
}

/** What `generate` gives. */
export interface GenerateResult {
  readonly images: readonly PixelImage[]
  /** The seed used, also when it was drawn. */
  readonly seed: number
  /** Seconds spent per phase. */
  readonly timings: { readonly encode: number; readonly denoise: number; readonly decode: number }
  readonly warnings: readonly string[]
  readonly captured?: CapturedTensors | undefined
}

/** What was loaded. */
export interface PipelineInfo {
  readonly className: string
  readonly repo: string
  readonly revision: string
  readonly device: DeviceInfo
  readonly dtype: DTypeName
  readonly components: Readonly<
    Record<
      string,
      {
        readonly className: string
        readonly repo: string
        readonly bytes: number
        readonly parameters: number
        readonly quantization?: QuantizationName | undefined
      }
    >
  >
  readonly defaults: {
    readonly width: number
    readonly height: number
    readonly numInferenceSteps: number
    readonly guidanceScale: number
  }
  readonly scheduler: { readonly className: string; readonly config: Readonly<Record<string, unknown>> }
}
