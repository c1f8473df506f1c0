/** The events of a prompt box. Only types. */

import type { PipelineInfo, ProgressReport, StepInfo } from '../../index.js'
import type { ImageDetail } from './image-detail.js'
import type { RunnerState } from './runner.js'

/** Event names, and the type of each event's `detail`. The events do not bubble. */
export interface AquatintPromptEvents {
  /** The progress of files and weights, phases, and memory use. */
  progress: ProgressReport
  /** A denoising step was done. The detail has a preview. */
  step: StepInfo
  /** Pictures were generated. The detail has the pictures and their settings. */
  image: ImageDetail
  /** A load or a generation failed. The detail is the error, usually an AquatintError. */
  error: unknown
  /** A model was loaded. */
  load: PipelineInfo
  /** The state changed. */
  statechange: RunnerState
  /** The user or the page chose another model. */
  modelchange: string
}
