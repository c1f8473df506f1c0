/** The options of generating images and of encoding prompts, with the hooks of a call, and what a generation returns. Only types. */

import type { EncodePromptOptions, GenerateOptions, GenerateResult, StepInfo } from '../../pipelines/types.js'
import type { GeneratedImage } from './generated-image.js'
import type { ImageInput } from './image-input.js'
import type { ProgressReport } from './overall-progress.js'

/** Options of `DiffusionPipeline.generate`. */
export interface GenerateCallOptions extends Omit<GenerateOptions, 'image'> {
  /**
   * Image to image: the start image. Pixels are used as they are, and the result has their size. Any other picture is cropped and scaled to
   * `width` × `height`; if one of these is absent, the result has the picture's own size. The size must be a multiple of the autoencoder's
   * factor (8).
   * FLUX.2-klein: one reference image or a list of them. Reference images keep their sizes.
   */
  readonly image?: ImageInput | readonly ImageInput[] | undefined
  /** Cancels the generation; the promise rejects with the reason of the signal. The pipeline stays loaded. */
  readonly signal?: AbortSignal | undefined
  /** Receives the progress of the whole generation, in the same form as in `fromPretrained`; also called after each step. */
  readonly onProgress?: ((progress: ProgressReport) => void) | undefined
  /** Called after each denoising step. */
  readonly onStep?: ((step: StepInfo) => void) | undefined
}

/** Options of `DiffusionPipeline.encodePrompt`. */
export interface EncodePromptCallOptions extends EncodePromptOptions {
  /** Cancels the call; the promise rejects with the reason of the signal. */
  readonly signal?: AbortSignal | undefined
}

/** The result of `DiffusionPipeline.generate`. */
export interface GenerateOutput extends Omit<GenerateResult, 'images'> {
  /** The images, `numImagesPerPrompt` of each prompt, one prompt after the other. */
  readonly images: readonly GeneratedImage[]
}
