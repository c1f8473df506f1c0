/** The part of a pipeline class that loading and planning need: its components and its defaults. generation/pipeline-family.ts has the rest. */

import type { Config } from '../checkpoint/types.js'
import type { DenoiserModel, NetworkDefinition, PromptWidths } from '../models/types.js'
import type { TokenizerDefinition } from '../tokenizers/types.js'

export interface PipelineSpec {
  /** diffusers' class, as model_index.json names it. */
  readonly className: string
  /**
   * The classes for image to image and for inpainting that use the same checkpoints. If a checkpoint names one of them, diffusers can
   * load it as this class, with AutoPipelineForText2Image or with `from_pretrained` of this class. Absent: none.
   */
  readonly savedAs?: readonly string[] | undefined
  /** The family's name for people. */
  readonly label: string
  /** Network components in the order they run, and the classes that each may have. */
  readonly networks: Readonly<Record<string, readonly NetworkDefinition[]>>
  /** Tokenizers and the classes that each may have. */
  readonly tokenizers: Readonly<Record<string, readonly TokenizerDefinition[]>>
  /** Components that a repository may lack. A tokenizer may be missing when its text encoder is. */
  readonly optional: readonly string[]
  /** Components that a repository may have and this pipeline never uses. Each value tells the user what follows from that. */
  readonly ignored: Readonly<Record<string, string>>
  /** The values of options that a caller does not set, as in diffusers. */
  readonly defaults: {
    readonly numInferenceSteps: number
    readonly guidanceScale: number
    /** Absent: the length of the prompt is not an option of this class. */
    readonly maxSequenceLength?: number | undefined
  }
  /**
   * How the guidance scale steers. `classifier-free`: away from a second prediction without the prompt, which doubles the denoiser's batch when
   * the scale is above 1. `embedded`: as an input of the denoiser, where its config has one. `none`: not at all.
   */
  readonly guidance: 'classifier-free' | 'embedded' | 'none'
  /** The keys of the autoencoder's config, beside `scaling_factor`, by which the latents are scaled. Absent: none. */
  readonly latentStatistics?: readonly ('shift_factor' | 'latents_mean' | 'latents_std')[] | undefined
  /** The `steps_offset` that the class sets in every scheduler, whatever the scheduler's config says. Absent: it sets none. */
  readonly stepsOffset?: number | undefined
  /** The published tiny autoencoder for the latents of this class, for `preview_decoder: 'auto'`. Absent: there is none. */
  readonly previewDecoder?: string | undefined
  /** Whether `trueCfgScale` above 1 and a negative prompt add classifier-free guidance to guidance of another kind. Absent: the option is not used. */
  readonly takesTrueCfg?: boolean | undefined
  /** Whether the class has a negative prompt. Absent: it has one wherever it has classifier-free guidance. */
  readonly takesNegativePrompt?: boolean | undefined
  /** Whether `image` are reference images, whose tokens the denoiser attends to. Absent: it is one image to start from. */
  readonly takesReferences?: boolean | undefined
  /** Whether the pipeline rounds a width and a height down to multiples, with a warning, as diffusers does for packed latents. Absent: it refuses others. */
  readonly roundsSize?: boolean | undefined
  /** Changes to `defaults` and `guidance` by the checkpoint's own options in model_index.json. Absent: none. */
  readonly settingsOf?: ((options: Config) => Partial<Pick<PipelineSpec, 'defaults' | 'guidance'>>) | undefined
  /**
   * The number to add to the guidance scale so that 1 means no guidance, as in other classes. Absent: 0.
   */
  readonly guidanceOffset?: number | undefined
  /**
   * Computes the widths of the prompt embeddings from the widths of each text encoder, by component name, and `own`, the width that the
   * denoiser takes. Widths are not compared if this is absent, or returns undefined because an encoder is missing.
   */
  readonly promptWidths?:
    | ((encoders: Readonly<Partial<Record<string, PromptWidths>>>, own: number) => PromptWidths | undefined)
    | undefined
}

/**
 * Whether a generation rounds the requested size. A generation that starts from an image has the image's size and rounds nothing.
 * Reference images make no difference.
 */
export function roundsSize(
  { roundsSize: rounds, takesReferences }: Pick<PipelineSpec, 'roundsSize' | 'takesReferences'>,
  hasImage: boolean,
): boolean {
  return rounds === true && (!hasImage || takesReferences === true)
}

/**
 * The scale of classifier-free guidance, with which a run predicts with and without the prompt in one batch; null for a run without this
 * guidance. If there is no negative prompt, the caller leaves out `trueCfgScale`.
 */
export function guidanceOf(
  { guidance, takesTrueCfg, guidanceOffset = 0, defaults }: GuidanceSpec,
  options: { readonly guidanceScale?: number | undefined; readonly trueCfgScale?: number | undefined },
  denoiser: Pick<DenoiserModel, 'guidanceInputs'> | undefined,
): number | null {
  const { guidanceScale = defaults.guidanceScale, trueCfgScale = 1 } = options
  if (takesTrueCfg === true) return trueCfgScale > 1 ? trueCfgScale : null
  const scale = guidanceScale + guidanceOffset
  // A denoiser that takes the scale as an input does not predict twice.
  return guidance === 'classifier-free' && scale > 1 && denoiser?.guidanceInputs === undefined ? scale : null
}

/** The members that decide whether a run has classifier-free guidance. */
export type GuidanceSpec = Pick<PipelineSpec, 'guidance' | 'guidanceOffset' | 'takesTrueCfg' | 'defaults'>
