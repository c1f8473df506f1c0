/** The options and results of a pipeline, with diffusers' names. Only types: they are part of the public API, and cross the worker boundary as plain data. */

import type { FileProgress } from '../hub/types.js'
import type { MemorySnapshot } from '../runtime/types.js'
import type { RepositoryReference } from '../hub/repositories/open-repository.js'
import type { DeviceName, KernelSource } from '../memory/device-info.js'

/** How weights are written in prompts. */
export type PromptWeighting = 'a1111' | 'compel'

/** A component from another repository, like the argument `unet` of diffusers' `from_pretrained`. */
export interface ComponentReference {
  /** `owner/name`, a URL, or a path relative to the page. The repository may contain a whole pipeline or a single model. */
  readonly repo: string
  /** Branch, tag or commit. Default `main`. */
  readonly revision?: string | undefined
  /** The folder in the repository. Default: the component's name if there is such a folder, otherwise the root. */
  readonly subfolder?: string | undefined
  /** The variant of the weight files, such as `fp16`. */
  readonly variant?: string | undefined
}

/** A checkpoint in one safetensors or GGUF file, for which diffusers has `from_single_file`. docs/single-files.md lists the families. */
export interface SingleFileReference {
  /** The URL of the file (the Hub's page of a file and Civitai's download links work too), or a file that the user picked. */
  readonly singleFile: string | File
  /** The repository with the configs, tokenizers and scheduler. Default: that of the family's own model on the Hub. */
  readonly config?: string | undefined
}

/** What `fromPretrained` loads: a repository, or a checkpoint in one file. */
export type CheckpointReference = RepositoryReference | SingleFileReference

/** The type that a network computes in. */
export type DTypeName = 'float32' | 'float16'

/** Linear weights as codes of 8 or 4 bits, with a scale for each block of 32; all other weights in float16. */
export type QuantizationName = 'q8' | 'q4'

/** The types that weights can have on the device. */
export type WeightsDType = DTypeName | QuantizationName

/** How long weights stay on the device. `resident`: always. `model`: while their component runs. `block`: as `model`, and weights that do not fit are streamed block by block. `auto`: the fastest that fits. */
export type OffloadMode = 'auto' | 'resident' | 'model' | 'block'

/** Options of `DiffusionPipeline.fromPretrained` that are plain data; callbacks and signals are in `FromPretrainedOptions`. */
export interface LoadPipelineOptions {
  /** Branch, tag or commit. Default `main`. */
  readonly revision?: string | undefined
  /** The variant of the weight files, such as `fp16`. A component without such files is loaded from the files without a variant, with a warning. Default: the files without a variant. */
  readonly variant?: string | undefined
  /** Access token for gated repositories. It stays in memory, and is sent to `endpoint` only. Default: none. */
  readonly token?: string | undefined
  /** Base URL of a Hub or of its mirror. Default `https://huggingface.co`. */
  readonly endpoint?: string | undefined
  /**
   * Asks the host whether files of a branch, or of a URL outside the Hub, have changed, even if all are cached. By default, a cached model
   * causes no request and does not change.
   */
  readonly revalidate?: boolean | undefined
  /**
   * The type of the weights, for all networks or by component, as in `{ text_encoder_3: 'q4', transformer: 'q8' }`. Default: the stored
   * type, if the device supports it. Quantized weights are computed once and stay in the cache beside the original.
   */
  readonly dtype?: WeightsDType | Readonly<Record<string, WeightsDType>> | undefined
  /** False deletes the original weights from the cache after they were quantized; another `dtype` then downloads them again. Default true. */
  readonly keepOriginal?: boolean | undefined
  /** `auto`: a real GPU if there is one, otherwise wasm. Default `auto`. */
  readonly device?: DeviceName | 'auto' | undefined
  /**
   * The device of each component, as in `{ text_encoder: 'wasm', unet: 'webgpu' }`. The entry `''` is the device of all other components;
   * without this entry, they use `device`. `balanced` keeps all components loaded and places each on the GPU with the most free budget
   * within `maxMemory`, or on the CPU.
   * diffusers' `device_map`. Default: every component is on `device`.
   */
  readonly deviceMap?: Readonly<Record<string, DeviceName>> | 'balanced' | undefined
  /**
   * The kernels that compute float16 on a GPU. `aquatint` (default): sums in float32, as in PyTorch. `onnxruntime`: those of onnxruntime-web, whose
   * sums are in float16; for comparison, or if a GPU has a problem with Aquatint's.
   */
  readonly kernels?: KernelSource | undefined
  /** How long weights stay on the device. Default `auto`. */
  readonly offload?: OffloadMode | undefined
  /**
   * The budget for the buffers of each GPU, in bytes or as '6GB' (10^9) or '6GiB'; or a budget for each device; the budget of `wasm` limits
   * only weights. Default: none; `offload: 'auto'` then plans with a guess.
   */
  readonly maxMemory?: number | string | Readonly<Partial<Record<DeviceName, number | string>>> | undefined
  /** True: decodes and encodes in overlapping tiles, as with diffusers' `enable_vae_tiling`. False: never. Default: only if an image would not fit as a whole. Images are always decoded one by one. */
  readonly vaeTiling?: boolean | undefined
  /**
   * The generation whose kernels a GPU compiles while weights download, and again when other LoRAs become active, so that its first step takes no longer than the second. A kernel for which
   * the memory plan has no space, or that the preparation did not foresee, is compiled when it first runs. If an image of the model's default size does not fit
   * in `maxMemory`, the load is planned for these options. null: every kernel is compiled when it first runs. Default `{}`: an image of the model's default size.
   */
  readonly prepareFor?: PlannedSize | null | undefined
  /** Component name → a repository id or reference, or null to leave the component out. Default: all components of the repository. */
  readonly components?: Readonly<Record<string, string | ComponentReference | null>> | undefined
  /**
   * A scheduler that replaces the repository's, created from the repository's config. The repository's own class need not be supported.
   * Default: the repository's.
   */
  readonly scheduler?: SchedulerReference | undefined
}

/** The generation to plan for. */
export interface PlannedSize {
  /** In pixels. Default: the model's width. */
  readonly width?: number | undefined
  /** In pixels. Default: the model's height. */
  readonly height?: number | undefined
  /** 1 to 64 images at once. Default 1. */
  readonly numImagesPerPrompt?: number | undefined
  /** How many tokens of T5 or of a language model are used, 1 to 512. Default 256 for Stable Diffusion 3, 512 for newer families. */
  readonly maxSequenceLength?: number | undefined
  /** At most 1 (Z-Image: 0): plans without guidance, for which the denoiser needs half the memory. By default with guidance. */
  readonly guidanceScale?: number | undefined
  /** FLUX.1: above 1, plans with a negative prompt, for which the transformer needs twice the memory. Default: plans without one. */
  readonly trueCfgScale?: number | undefined
  /** Whether the generation starts from an image, which the autoencoder encodes first; for FLUX.2-klein, whether it has one reference image of the result's size. Default false. */
  readonly imageToImage?: boolean | undefined
  /** Stable Diffusion 3.5: the blocks that skip-layer guidance leaves out. By default no skip-layer guidance. */
  readonly skipGuidanceLayers?: readonly number[] | undefined
}

/** A scheduler class of diffusers, created from the repository's config with some keys changed (`from_config`). */
export interface SchedulerReference {
  /** For example `EulerDiscreteScheduler`. */
  readonly className: string
  /** The keys to change, with diffusers' names in snake_case. */
  readonly config?: Readonly<Record<string, unknown>> | undefined
}

/** The prompt of a generation: a text, a list of texts that each make images of their own, or null together with `promptEmbeds`. */
export type PromptInput = string | readonly string[] | null

/** Prompt embeddings: the result of `encodePrompt`, and options of `generate` in place of a prompt. The first axis counts prompts. */
export interface PromptEmbeddings {
  /** [prompts, tokens, width]; in place of the prompt, which is then null. */
  readonly promptEmbeds?: PlainTensor | undefined
  /** In place of `negativePrompt`, with the same shape as `promptEmbeds`. */
  readonly negativePromptEmbeds?: PlainTensor | undefined
  /** SDXL and Stable Diffusion 3: [prompts, width], together with `promptEmbeds`. */
  readonly pooledPromptEmbeds?: PlainTensor | undefined
  /** SDXL and Stable Diffusion 3: [prompts, width], together with `negativePromptEmbeds`. */
  readonly negativePooledPromptEmbeds?: PlainTensor | undefined
  /** Chroma: [prompts, tokens], together with `promptEmbeds`. 1 for the text and one token of padding, 0 for the other padding. */
  readonly promptAttentionMask?: PlainTensor | undefined
  /** Chroma: [prompts, tokens], together with `negativePromptEmbeds`. */
  readonly negativePromptAttentionMask?: PlainTensor | undefined
}

/** The options of `generate` that are texts: the prompts for the other text encoders, and the negative prompts. */
export interface PromptTexts<Text> {
  /** The prompt for the second text encoder. Default: the prompt. */
  readonly prompt2?: Text | undefined
  /** Describes what should not be in the image: one text for all prompts, or a list with one for each. Only used with guidance. Default: empty. */
  readonly negativePrompt?: Text | undefined
  /** The negative prompt for the second text encoder. Default: `negativePrompt`. */
  readonly negativePrompt2?: Text | undefined
  /** Stable Diffusion 3: the prompt for the third text encoder, T5. Default: the prompt. */
  readonly prompt3?: Text | undefined
  /** Stable Diffusion 3: the negative prompt for T5. Default: `negativePrompt`. */
  readonly negativePrompt3?: Text | undefined
}

/** The options of `generate` for one of its prompts. */
export interface SinglePromptOptions extends Omit<GenerateOptions, keyof PromptTexts<string>>, PromptTexts<string> {}

/** Options of `encodePrompt`, with the meaning that they have in `generate`. */
export type EncodePromptOptions = Pick<
  GenerateOptions,
  | 'prompt2'
  | 'prompt3'
  | 'negativePrompt'
  | 'negativePrompt2'
  | 'negativePrompt3'
  | 'clipSkip'
  | 'maxSequenceLength'
  | 'promptWeighting'
>

/** Options of `generate`: diffusers' arguments in camelCase. Sizes are in pixels. */
export interface GenerateOptions extends PromptEmbeddings, PromptTexts<string | readonly string[]> {
  /** The number of denoising steps, 1 to 10,000. Default: see `PipelineInfo.defaults`. */
  readonly numInferenceSteps?: number | undefined
  /**
   * The weight of the prompt relative to the negative prompt. Guidance needs a scale above 1, for Z-Image above 0. FLUX.1 dev and latent
   * consistency models take the scale as an input, without such a limit. Default: see `PipelineInfo.defaults`.
   */
  readonly guidanceScale?: number | undefined
  /** FLUX.1: the weight of the prompt relative to the negative prompt. Above 1 and with `negativePrompt`, each step has a second prediction. Default 1. */
  readonly trueCfgScale?: number | undefined
  /** Z-Image: limits the norm of the guided prediction to this factor times the norm of the prediction with the prompt alone; true is 1. Default: no limit. */
  readonly cfgNormalization?: boolean | number | undefined
  /** Z-Image: guidance ends when this fraction of the noise is removed, 0 to 1. Default 1: it does not end. */
  readonly cfgTruncation?: number | undefined
  /** 0 to 1: how much of the contrast that guidance adds is removed. Default 0. */
  readonly guidanceRescale?: number | undefined
  /** In pixels, a multiple of 8 (16 for Stable Diffusion 3 and Z-Image), at most 8192. FLUX and Chroma round down to a multiple of 16, with a warning. Default: the model's size. */
  readonly width?: number | undefined
  /** As `width`. Default: the model's size. */
  readonly height?: number | undefined
  /** The number of images from each prompt, each with its own noise. At most 64 images for all prompts together. Default 1. */
  readonly numImagesPerPrompt?: number | undefined
  /**
   * Image to image: the start image. The result has its size, a multiple of 8 (16 for Stable Diffusion 3, FLUX, Chroma and Z-Image).
   * FLUX.2-klein: reference images, one or a list, of at least 64 pixels along each edge; the result has `width` and `height`, or the size
   * of the first. Default: none.
   */
  readonly image?: PixelImage | readonly PixelImage[] | undefined
  /** How much of the start image is redrawn: the fraction of the steps that run, above 0 and up to 1. Default: diffusers' for the pipeline class (docs/pipelines.md). */
  readonly strength?: number | undefined
  /** The seed, as in `torch.Generator('cpu').manual_seed(seed)`. By default it is random; the result reports it. */
  readonly seed?: number | undefined
  /** 0 to 1: how much noise DDIM and TCD add in each step. Default 0. */
  readonly eta?: number | undefined
  /** The number of CLIP's last layers to leave out. Default: the layers with which the pipeline was trained. */
  readonly clipSkip?: number | undefined
  /**
   * Weights in prompts. `a1111`: `(word:1.3)`, `((word))` and `[word]` as in AUTOMATIC1111's web UI; BREAK, or a prompt of more than 77
   * tokens, begins another chunk. `compel`: `word++` and `(some words)1.3` as in the library compel. T5 reads the text without weights.
   * Default: prompts are plain text.
   */
  readonly promptWeighting?: PromptWeighting | undefined
  /** The timesteps, in place of `numInferenceSteps`, for schedulers that accept them. Default: the scheduler's own. */
  readonly timesteps?: readonly number[] | undefined
  /** The noise levels, in place of `numInferenceSteps`, for schedulers that accept them. Default: the scheduler's own. */
  readonly sigmas?: readonly number[] | undefined
  /** The number of tokens of T5 or of a language model, 1 to 512. Default 256 for Stable Diffusion 3, 512 for newer families. */
  readonly maxSequenceLength?: number | undefined
  /** Stable Diffusion 3.5: the blocks to leave out in an additional prediction, from which guidance steers away. Default: none. */
  readonly skipGuidanceLayers?: readonly number[] | undefined
  /** The weight of skip-layer guidance. Default 2.8. */
  readonly skipLayerGuidanceScale?: number | undefined
  /** The fraction of the steps after which skip-layer guidance ends, 0 to 1. Default 0.2. */
  readonly skipLayerGuidanceStop?: number | undefined
  /** The fraction of the steps after which skip-layer guidance begins, 0 to 1. Default 0.01. */
  readonly skipLayerGuidanceStart?: number | undefined
  /** SDXL's micro-conditioning: the original size, [height, width] as in diffusers. Default: the result's size. */
  readonly originalSize?: readonly [number, number] | undefined
  /** SDXL: the top left corner of the crop, [top, left]. Default [0, 0]. */
  readonly cropsCoordsTopLeft?: readonly [number, number] | undefined
  /** SDXL: the target size, [height, width]. Default: the result's size. */
  readonly targetSize?: readonly [number, number] | undefined
  /** SDXL: `originalSize` for the negative prompt. Default: `originalSize`. Ignored in text to image without `negativeTargetSize`. */
  readonly negativeOriginalSize?: readonly [number, number] | undefined
  /** SDXL: `cropsCoordsTopLeft` for the negative prompt. Default [0, 0]. */
  readonly negativeCropsCoordsTopLeft?: readonly [number, number] | undefined
  /** SDXL: `targetSize` for the negative prompt. Default: `targetSize`. Ignored in text to image without `negativeOriginalSize`. */
  readonly negativeTargetSize?: readonly [number, number] | undefined
  /** A scheduler for this generation only. Default: the pipeline's. */
  readonly scheduler?: SchedulerReference | undefined
  /** The tensors to return in `captured` of the result, for comparison with diffusers. Default: none. */
  readonly capture?: readonly CapturedTensorName[] | undefined
  /**
   * Adds an RGBA preview, computed from the latents, to the `StepInfo` of every n-th step. With a `preview_decoder` the preview is as large as the
   * image, otherwise small. 0: never. Default 0.
   */
  readonly previewEvery?: number | undefined
}

/** The name of a tensor of a generation, as in diffusers. */
export type CapturedTensorName =
  | 'prompt_embeds'
  | 'negative_prompt_embeds'
  | 'pooled_prompt_embeds'
  | 'negative_pooled_prompt_embeds'
  | 'prompt_attention_mask'
  | 'negative_prompt_attention_mask'
  | 'initial_latents'
  | 'timesteps'
  | 'noise_pred'
  | 'latents'
  | 'image'

/** A float32 tensor on the host. */
export interface PlainTensor {
  /** The shape of the tensor. */
  readonly dims: readonly number[]
  /** The values in row-major order: as many as the product of `dims`. */
  readonly data: Float32Array<ArrayBuffer>
}

/** Tensors by diffusers' names. Tensors of each step have the names `noise_pred_<i>` and `latents_<i>`. */
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

/** A progress event of a load or a generation. `status` with the phase `downloading` names all `components` whose weights are loaded. */
export type PipelineProgress =
  | {
      readonly type: 'status'
      readonly phase: PipelinePhase
      readonly component?: string | undefined
      readonly components?: readonly string[] | undefined
    }
  | { readonly type: 'step'; readonly step: number; readonly total: number }
  | { readonly type: 'file'; readonly component: string; readonly file: FileProgress }
  | { readonly type: 'weights'; readonly component: string; readonly loaded: number; readonly total: number }
  | { readonly type: 'memory'; readonly memory: PipelineMemory }
  | { readonly type: 'warning'; readonly code: string; readonly message: string }

/** The memory in use on all devices of a pipeline together, and on each device by name. */
export interface PipelineMemory extends MemorySnapshot {
  /** By device name. */
  readonly devices: Readonly<Record<string, MemorySnapshot>>
}

/** The phase of a load or a generation. A load ends with `ready`, a generation with `complete`. */
export type PipelinePhase = 'resolving' | 'downloading' | 'ready' | 'encoding' | 'denoising' | 'decoding' | 'complete'

/** A denoising step that has finished. */
export interface StepInfo {
  /** The index of the step, starting at 0. */
  readonly step: number
  /** The number of steps. */
  readonly total: number
  /** The timestep of the scheduler, on the scale of its training schedule. */
  readonly timestep: number
  /** An image computed from the latents: decoded by the `preview_decoder`, or else a rough one with a pixel for each latent pixel. Only with `previewEvery`. */
  readonly preview?: PixelImage | undefined
}

/** The result of `generate`. */
export interface GenerateResult {
  /** The images, `numImagesPerPrompt` of each prompt, one prompt after the other. */
  readonly images: readonly PixelImage[]
  /** The seed, also if it was random. */
  readonly seed: number
  /** Seconds spent per phase. */
  readonly timings: { readonly encode: number; readonly denoise: number; readonly decode: number }
  /** Messages about differences from the request, such as a truncated prompt or a tighter offload mode. */
  readonly warnings: readonly string[]
  /** The tensors that `capture` requested. */
  readonly captured?: CapturedTensors | undefined
}
