/** What a pipeline takes and gives, in diffusers' words. Only types; they are the public API's and cross the worker boundary as plain data. */

import type { FileProgress } from '../hub/types.js'
import type { MemorySnapshot } from '../runtime/types.js'
import type { DeviceInfo, DeviceName } from '../memory/device-info.js'

/** A component of one repository used in place of another's, as `fromPretrained(repo, { unet: … })` in diffusers. */
export interface ComponentReference {
  /** `owner/name`, a URL, or a path relative to the page; a pipeline's repository or a single model's. */
  readonly repo: string
  /** Branch, tag or commit. Default `main`. */
  readonly revision?: string | undefined
  /** The folder in it. Default: the component's own name where there is such a folder, else the top. */
  readonly subfolder?: string | undefined
  /** Which weight files, such as `fp16`. */
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
  /** Branch, tag or commit. Default `main`. */
  readonly revision?: string | undefined
  /** Which weight files, such as `fp16`. A component without such files is loaded without, with a warning. */
  readonly variant?: string | undefined
  /** Access token for gated repositories. It stays in memory and goes to `endpoint` only. */
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
  /** False deletes the original of quantised weights from the cache once they are made: another `dtype` downloads it again. Default true. */
  readonly keepOriginal?: boolean | undefined
  /** `auto`: a real GPU if there is one, else wasm. */
  readonly device?: DeviceName | 'auto' | undefined
  /**
   * Devices by component, as `{ text_encoder: 'wasm', unet: 'webgpu' }`; those left out go to the one named `''`, else to `device`.
   * `balanced`: each to the GPU with most room for it, else to the CPU, within `maxMemory`, so that all stay; diffusers' `device_map`.
   */
  readonly deviceMap?: Readonly<Record<string, DeviceName>> | 'balanced' | undefined
  /** Where weights are, and when. Default `auto`. */
  readonly offload?: OffloadMode | undefined
  /** A budget for the GPU buffers of each GPU, in bytes or as '6GB' (10^9) or '6GiB'; or one by device, where `wasm` is for weights. */
  readonly maxMemory?: number | string | Readonly<Partial<Record<DeviceName, number | string>>> | undefined
  /**
   * As diffusers' `enable_vae_tiling`: decode, and encode, in overlapping tiles. By default only where an image would not fit as a whole.
   * `enable_vae_slicing` needs no word: images are decoded one by one.
   */
  readonly vaeTiling?: boolean | undefined
  /** Component name → a repository id or reference, or null to leave the component out. */
  readonly components?: Readonly<Record<string, string | ComponentReference | null>> | undefined
  /** A scheduler in place of the repository's, made from its config: also where the repository's class is not supported. */
  readonly scheduler?: SchedulerReference | undefined
}

/** A scheduler by its diffusers class, made from the repository's config with these keys changed (`from_config`). */
export interface SchedulerReference {
  /** Such as `EulerDiscreteScheduler`. */
  readonly className: string
  /** Keys to change, as diffusers names them: snake_case. */
  readonly config?: Readonly<Record<string, unknown>> | undefined
}

/** Options of `generate`, diffusers' arguments in camelCase. Sizes in pixels. */
export interface GenerateOptions {
  /** The prompt for the second text encoder. Default: the prompt. */
  readonly prompt2?: string | undefined
  /** What should not be in the image. Used where guidance is. */
  readonly negativePrompt?: string | undefined
  /** The negative prompt for the second text encoder. Default: `negativePrompt`. */
  readonly negativePrompt2?: string | undefined
  /** Denoising steps, 1 to 10,000. Default: the pipeline's own, see `PipelineInfo.defaults`. */
  readonly numInferenceSteps?: number | undefined
  /** Weight of the prompt against the negative one; up to 1 there is no guidance. Default: the pipeline's own. */
  readonly guidanceScale?: number | undefined
  /** 0 to 1: how far guidance's contrast is taken back. Default 0. */
  readonly guidanceRescale?: number | undefined
  /** In pixels, a multiple of 8 (16 for Stable Diffusion 3), at most 8192. Default: the model's own. */
  readonly width?: number | undefined
  /** As `width`. */
  readonly height?: number | undefined
  /** 1 to 64 images from one prompt, each with noise of its own. Default 1. */
  readonly numImagesPerPrompt?: number | undefined
  /** Image to image: what the run starts from. Its sizes are the result's, and multiples of the autoencoder's factor (8). */
  readonly image?: PixelImage | undefined
  /** How much of the image is made anew: the part of the steps that runs, above 0 up to 1. */
  readonly strength?: number | undefined
  /** As `torch.Generator('cpu').manual_seed(seed)`; drawn at random and reported when absent. */
  readonly seed?: number | undefined
  /** 0 to 1: how much noise DDIM adds in each step. Default 0. */
  readonly eta?: number | undefined
  /** How many of the last layers of CLIP are left out. Default: what the pipeline was trained with. */
  readonly clipSkip?: number | undefined
  /** The schedule itself instead of a number of steps, for schedulers that take one: one of the two. */
  readonly timesteps?: readonly number[] | undefined
  /** As `timesteps`, in noise levels. */
  readonly sigmas?: readonly number[] | undefined
  /** Stable Diffusion 3: the prompt for the third text encoder, T5. Default: the prompt. */
  readonly prompt3?: string | undefined
  /** Stable Diffusion 3: the negative prompt for T5. Default: `negativePrompt`. */
  readonly negativePrompt3?: string | undefined
  /** Stable Diffusion 3: how many of T5's tokens are used, 1 to 512. Default 256. */
  readonly maxSequenceLength?: number | undefined
  /** Stable Diffusion 3.5: blocks left out in one more prediction, to steer away from it. */
  readonly skipGuidanceLayers?: readonly number[] | undefined
  /** The weight of that prediction. Default 2.8. */
  readonly skipLayerGuidanceScale?: number | undefined
  /** The part of the steps after which it ends, 0 to 1. Default 0.2. */
  readonly skipLayerGuidanceStop?: number | undefined
  /** The part of the steps after which it begins, 0 to 1. Default 0.01. */
  readonly skipLayerGuidanceStart?: number | undefined
  /** SDXL's micro-conditioning: [height, width], as diffusers orders them. Default: the result's size. */
  readonly originalSize?: readonly [number, number] | undefined
  /** SDXL: [top, left]. Default [0, 0]. */
  readonly cropsCoordsTopLeft?: readonly [number, number] | undefined
  /** SDXL: [height, width]. Default: the result's size. */
  readonly targetSize?: readonly [number, number] | undefined
  /** SDXL: `originalSize` for the negative prompt. */
  readonly negativeOriginalSize?: readonly [number, number] | undefined
  /** SDXL: `cropsCoordsTopLeft` for the negative prompt. */
  readonly negativeCropsCoordsTopLeft?: readonly [number, number] | undefined
  /** SDXL: `targetSize` for the negative prompt. */
  readonly negativeTargetSize?: readonly [number, number] | undefined
  /** A scheduler for this run only. */
  readonly scheduler?: SchedulerReference | undefined
  /** Names of tensors to hand to `onStep` / the result, for checking against diffusers: see {@link CapturedTensors}. */
  readonly capture?: readonly CapturedTensorName[] | undefined
  /** Send a small RGBA preview made from the latents with every n-th step. 0: never. */
  readonly previewEvery?: number | undefined
}

/** A tensor of a run, by diffusers' name. */
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
  /** Its shape. */
  readonly dims: readonly number[]
  /** Row-major, as many as the product of `dims`. */
  readonly data: Float32Array<ArrayBuffer>
}

/** Tensors by diffusers' names; per-step ones as `noise_pred_<i>` and `latents_<i>`. */
export type CapturedTensors = Readonly<Record<string, PlainTensor>>

/** 8-bit RGBA pixels, row by row from the top left. */
export interface PixelImage {
  /** In pixels. */
  readonly width: number
  /** In pixels. */
  readonly height: number
  /** `width * height * 4` bytes. */
  readonly data: Uint8ClampedArray<ArrayBuffer>
}

/** What is going on, for a page to show. */
export type PipelineProgress =
  | { readonly type: 'status'; readonly phase: PipelinePhase; readonly component?: string | undefined }
  | { readonly type: 'file'; readonly component: string; readonly file: FileProgress }
  | { readonly type: 'weights'; readonly component: string; readonly loaded: number; readonly total: number }
  | { readonly type: 'memory'; readonly memory: PipelineMemory }
  | { readonly type: 'warning'; readonly code: string; readonly message: string }

/** The account of all devices of a pipeline together, and of each by name. */
export interface PipelineMemory extends MemorySnapshot {
  /** By device name. */
  readonly devices: Readonly<Record<string, MemorySnapshot>>
}

/** Where a load or a run is. A load ends with `ready`, a run with `complete`. */
export type PipelinePhase = 'resolving' | 'downloading' | 'ready' | 'encoding' | 'denoising' | 'decoding' | 'complete'

/** After a denoising step. */
export interface StepInfo {
  /** 0-based index of the step just done. */
  readonly step: number
  /** How many steps there are. */
  readonly total: number
  /** The scheduler's, of the training schedule. */
  readonly timestep: number
  /** A small image made from the latents, one pixel for each; only with `previewEvery`. */
  readonly preview?: PixelImage | undefined
}

/** What `generate` gives. */
export interface GenerateResult {
  /** `numImagesPerPrompt` of them. */
  readonly images: readonly PixelImage[]
  /** The seed used, also when it was drawn. */
  readonly seed: number
  /** Seconds spent per phase. */
  readonly timings: { readonly encode: number; readonly denoise: number; readonly decode: number }
  /** What did not go as asked, in words: a prompt cut short, a tighter offload. */
  readonly warnings: readonly string[]
  /** The tensors that `capture` named. */
  readonly captured?: CapturedTensors | undefined
}

/** What was loaded. */
export interface PipelineInfo {
  /** diffusers' class of the pipeline. */
  readonly className: string
  /** The family's name for people, such as `Stable Diffusion XL`. */
  readonly label: string
  /** `owner/name`, a base URL, or a folder's name. */
  readonly repo: string
  /** The commit, or a word for hosts without commits. */
  readonly revision: string
  /** The denoiser's device. */
  readonly device: DeviceInfo
  /** What the denoiser computes in. */
  readonly dtype: DTypeName
  /** All devices that components are on, by name. */
  readonly devices: Readonly<Record<string, DeviceInfo>>
  /** By name, such as `unet`: the class, where it came from, bytes and number of its weights. */
  readonly components: Readonly<
    Record<
      string,
      {
        readonly className: string
        readonly repo: string
        /** The name of the device it is on. */
        readonly device: DeviceName
        readonly bytes: number
        readonly parameters: number
        readonly quantization?: QuantizationName | undefined
      }
    >
  >
  /** What `generate` uses where its options say nothing. Sizes in pixels. */
  readonly defaults: {
    readonly width: number
    readonly height: number
    readonly numInferenceSteps: number
    readonly guidanceScale: number
  }
  /** The scheduler as it was made. */
  readonly scheduler: { readonly className: string; readonly config: Readonly<Record<string, unknown>> }
  /** Bytes that are planned within on the denoiser's device: `maxMemory`, or on a GPU without one a guess. The CPU has none of its own. */
  readonly memoryBudget?: number | undefined
  /** Whether `image` can be given: the autoencoder has its encoder. */
  readonly imageToImage: boolean
}
