/** What was loaded, and what loading found in the checkpoint. Only types: they are part of the public API, and cross the worker boundary as plain data. */

import type { DeviceInfo, DeviceName } from '../memory/device-info.js'
import type { DTypeName, QuantizationName } from './types.js'

/** Something in a checkpoint that loading ignored, assumed or replaced. docs/models.md lists the codes. */
export interface LoadNote {
  /** The component's name, such as `unet`; '' for the checkpoint as a whole. */
  readonly component: string
  /** The kind of finding, such as `config-keys`. */
  readonly code: string
  /** A sentence that says what was found, and how it affects the images. */
  readonly message: string
  /** What the note is about, such as config keys, tensors or a class: each name with its value. */
  readonly values: Readonly<Record<string, string>>
}

/** What was loaded. */
export interface PipelineInfo {
  /** diffusers' class of the pipeline. */
  readonly className: string
  /** The family's display name, such as `Stable Diffusion XL`. */
  readonly label: string
  /** `owner/name`, a base URL, or a folder's name. */
  readonly repo: string
  /** The commit, or another identifier on hosts without commits. */
  readonly revision: string
  /** The denoiser's device. */
  readonly device: DeviceInfo
  /** The type in which the denoiser computes. */
  readonly dtype: DTypeName
  /** The devices on which components are placed, by device name, such as `webgpu`. */
  readonly devices: Readonly<Record<string, DeviceInfo>>
  /** The components by name, such as `unet`: class, repository, device, bytes and number of parameters. */
  readonly components: Readonly<
    Record<
      string,
      {
        readonly className: string
        readonly repo: string
        /** The name of the component's device. */
        readonly device: DeviceName
        readonly bytes: number
        readonly parameters: number
        readonly quantization?: QuantizationName | undefined
      }
    >
  >
  /** The defaults of `generate`'s options. Sizes are in pixels. */
  readonly defaults: {
    readonly width: number
    readonly height: number
    readonly numInferenceSteps: number
    readonly guidanceScale: number
    /** The defaults of image to image. */
    readonly fromImage: { readonly numInferenceSteps: number; readonly guidanceScale: number }
  }
  /** The scheduler, with its complete config. */
  readonly scheduler: { readonly className: string; readonly config: Readonly<Record<string, unknown>> }
  /** The budget of the denoiser's device, in bytes. On a GPU: `maxMemory`, or a guess if it is not set. On a CPU: a `maxMemory` for all devices, otherwise undefined. */
  readonly memoryBudget?: number | undefined
  /** Whether `generate` accepts `image`: the checkpoint has the autoencoder's encoder. */
  readonly imageToImage: boolean
  /**
   * How `guidanceScale` steers. `classifier-free`: away from the negative prompt, which doubles the denoiser's batch. `embedded`: as an input of the
   * denoiser, which needs no negative prompt. `none`: not at all, as in distilled models.
   */
  readonly guidance: 'classifier-free' | 'embedded' | 'none'
  /** Whether `generate` accepts `promptWeighting` and `clipSkip`: the denoiser reads the hidden states of CLIP text encoders. */
  readonly promptWeighting: boolean
  /** Whether `image` is one reference image or a list of them, as for FLUX.2-klein, instead of a start image. */
  readonly takesReferences: boolean
  /** Whether `negativePrompt` can have an effect: with classifier-free guidance, or with `trueCfgScale` for FLUX.1. */
  readonly takesNegativePrompt: boolean
  /** What loading ignored, assumed or replaced in the checkpoint, such as config keys that a class does not have. Empty for most checkpoints. */
  readonly notes: readonly LoadNote[]
}
