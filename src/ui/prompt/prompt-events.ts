/** What a prompt box tells its page. Only types. */

import type { PipelineInfo, PipelineProgress, StepInfo } from '../../index.js'
import type { ImageDetail } from './image-detail.js'
import type { RunnerState } from './runner.js'

/** The events of a prompt box, by the type of their detail. They do not bubble. */
export interface AquatintPromptEvents {
  /** Bytes of files, weights in place, phases, the memory account. */
  progress: PipelineProgress
  /** A denoising step, with its preview. */
  step: StepInfo
  /** Pictures, with what made them. */
  image: ImageDetail
  /** What was thrown; an AquatintError where it was thrown on purpose. */
  error: unknown
  /** A model is loaded. */
  load: PipelineInfo
  /** Whether a pipeline is there and whether something is going on has changed. */
  statechange: RunnerState
  /** The reader or the page chose another model. */
  modelchange: string
}
