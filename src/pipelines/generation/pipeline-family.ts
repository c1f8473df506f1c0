/**
 * The contract of a pipeline class: all that distinguishes `StableDiffusionXLPipeline` from the others. Each file in families/ exports one
 * definition, families.ts lists them all, and no other code depends on the name of a class. The order of work is the same for all of them:
 * loaded-pipeline.ts, text-to-image.ts, phases.ts.
 */

import type { Config } from '../../checkpoint/types.js'
import type { DenoiserModel, Extent, LatentStatistics, NetworkDefinition } from '../../models/types.js'
import type { Device } from '../../runtime/device.js'
import type { Network } from '../bind-network.js'
import type { ComponentHost } from '../execution/component-host.js'
import type { DeviceHosts } from '../execution/device-hosts.js'
import type { LoadedParts } from '../loading/read-parts.js'
import type { TokenizerDefinition } from '../../tokenizers/types.js'
import type { ComponentName } from '../../component-names.js'
import type { PipelineSpec } from '../pipeline-spec.js'
import type { Recorder, Run } from '../run.js'
import type { GenerateOptions, SinglePromptOptions } from '../types.js'
import type { ImageStartRules } from './image-start.js'
import type { ChannelScale } from '../images/latent-scaling.js'
import type { PreviewCoefficients } from '../images/latent-preview.js'
import type { Condition } from '../prompts/prompt-embeds.js'
import type { Correction, Refinement } from './predictor.js'
import type { EncodeCall, EncodedPrompt, EncodedPrompts } from '../prompts/prompt-embeds.js'
import type { SchedulerSource } from './schedule.js'
import type { Keep } from '../tensors.js'
import type { LoadedTextEncoder } from '../prompts/text-encoders.js'

/** The text encoders of one loaded pipeline. */
export interface PromptEncoder {
  /** Checks the options that depend on the text encoders. @throws InputError */
  readonly check: (options: GenerateOptions) => void
  /** The text encoders that take weighted prompts: CLIP's. Absent: the option `promptWeighting` is refused. */
  readonly weighted?: readonly Pick<LoadedTextEncoder, 'chunks'>[] | undefined
  /** diffusers' `encode_prompt` of one prompt. Without guidance there is no negative prompt. @throws what the text encoders throw */
  readonly encode: (prompt: string, options: SinglePromptOptions, guided: boolean, call: EncodeCall) => Promise<EncodedPrompts>
}

/** The inputs from which a family makes the denoiser's condition. */
export interface ConditionCall {
  readonly denoiser: Network<DenoiserModel>
  /** The denoiser's device. */
  readonly device: Device
  /** The prompts. With guidance, the negative prompts come first, one for each prompt. */
  readonly prompts: readonly EncodedPrompt[]
  /** Whether `prompts` begins with the negative prompts. */
  readonly guided: boolean
  readonly options: GenerateOptions
  /** The image's size, in pixels. */
  readonly size: Extent
  /** Images of each prompt. */
  readonly count: number
}

/** The arguments of `refine`, a further correction of the denoiser's prediction. */
export interface RefineCall {
  readonly denoiser: Network<DenoiserModel>
  readonly condition: Condition
  readonly options: GenerateOptions
  readonly host: ComponentHost
  readonly recorder: Recorder
  readonly run: Run
  /** Registers a tensor that is disposed after the last step. */
  readonly keep: Keep
}

/** One pipeline class. */
export interface PipelineFamily extends PipelineSpec {
  readonly networks: Readonly<Partial<Record<ComponentName, readonly NetworkDefinition[]>>>
  readonly tokenizers: Readonly<Partial<Record<ComponentName, readonly TokenizerDefinition[]>>>
  readonly optional: readonly ComponentName[]
  readonly ignored: Readonly<Partial<Record<ComponentName, string>>>
  /** How image to image runs. */
  readonly imageToImage: ImageStartRules
  /** How the repository's scheduler is used; absent: as the repository has it. */
  readonly scheduler?: {
    /** Corrects the config of the repository's scheduler as diffusers' class does. Absent: it stays unchanged. */
    readonly correct?: ((scheduler: LoadedParts['scheduler']) => SchedulerSource) | undefined
    /** Whether each run sets the scheduler's begin index, 0 without an image, as the class in diffusers does. */
    readonly setsBeginIndex?: boolean | undefined
    /**
     * The shift `mu` for schedulers with `use_dynamic_shifting`. `tokens`: the number of the denoiser's tokens; `config`: the scheduler's;
     * `steps`: undefined if the caller gives only sigmas.
     */
    readonly shift?: ((tokens: number, config: Config, steps: number | undefined) => number) | undefined
    /** The sigmas of a run whose caller gives neither sigmas nor timesteps, for a number of steps; absent: the scheduler's own. */
    readonly sigmas?: ((steps: number) => readonly number[]) | undefined
    /** The runs in which a scheduler with `use_flow_sigmas` uses its own sigmas, neither the class's nor the caller's; absent: none. */
    readonly ownFlowSigmas?: 'all' | 'from-text' | undefined
  }
  /** Whether `guidanceRescale` is an option of this class. */
  readonly rescalesGuidance: boolean
  /** Whether `cfgNormalization` and `cfgTruncation` are options of this class. Absent: not. */
  readonly limitsGuidance?: boolean | undefined
  /** Whether `originalSize`, `targetSize`, `cropsCoordsTopLeft` and the same for the negative prompt are options of this class. Absent: not. */
  readonly takesSizes?: boolean | undefined
  /** The scale of each channel from the denoiser's latents to the autoencoder's. */
  readonly latentScales: (statistics: LatentStatistics, channels: number) => readonly ChannelScale[]
  readonly preview: PreviewCoefficients
  /** Its text encoders with their tokenizers. @throws CheckpointError `component-missing` */
  readonly promptEncoder: (parts: LoadedParts, hosts: DeviceHosts, denoiser: Network<DenoiserModel>) => PromptEncoder
  /** The denoiser's inputs that are made from the prompt and stay from step to step. The caller disposes them. */
  readonly condition: (call: ConditionCall) => Condition
  /** Checks options that depend on the denoiser. @throws InputError */
  readonly check?: ((options: GenerateOptions, denoiser: DenoiserModel) => void) | undefined
  /**
   * Makes the function that returns the further correction of a step, or null if the step has none. Returns null if no step has one. Only
   * called for runs with guidance.
   */
  readonly refine?: ((call: RefineCall) => ((step: Refinement) => Promise<Correction | null>) | null) | undefined
}
