/** DiffusionPipeline: loads a repository as whichever pipeline its model_index.json names. */

import type { Repository } from '../hub/types.js'
import type { OpenPipelineOptions } from './loading/find-pipeline.js'
import { openPipeline, type OpenedPipeline } from './loading/open-pipeline.js'
import type { PipelineSpec } from './loading/read-parts.js'
import { planPipeline, type PipelinePlan, type PlannedSize } from './loading/plan-pipeline.js'
import type { GenerateHooks } from './run.js'
import { StableDiffusionPipeline, stableDiffusionSpec } from './families/stable-diffusion.js'
import { StableDiffusionXLPipeline, stableDiffusionXLSpec } from './families/stable-diffusion-xl.js'
import { StableDiffusion3Pipeline, stableDiffusion3Spec } from './families/stable-diffusion-3.js'
import type { GenerateOptions, GenerateResult, PipelineInfo } from './types.js'

/** A loaded pipeline of any family. */
export interface LoadedPipeline {
  readonly info: PipelineInfo
  generate(prompt: string, options?: GenerateOptions & GenerateHooks): Promise<GenerateResult>
  dispose(): Promise<void>
}

const constructors = new Map<string, new (opened: OpenedPipeline) => LoadedPipeline>([
  [stableDiffusionSpec.className, StableDiffusionPipeline],
  [stableDiffusionXLSpec.className, StableDiffusionXLPipeline],
  [stableDiffusion3Spec.className, StableDiffusion3Pipeline],
])
/** What the pipelines are made of. */
export const pipelineSpecs: readonly PipelineSpec[] = [stableDiffusionSpec, stableDiffusionXLSpec, stableDiffusion3Spec]

export const DiffusionPipeline = {
  /**
   * Loads a pipeline: a Hub id, a base URL, or an open repository.
   * @throws UnsupportedError `unsupported-class`, `unsupported-config`; InputError; HubError; CheckpointError; DeviceError; AbortError
   */
  async fromPretrained(repo: string | Repository, options: OpenPipelineOptions = {}): Promise<LoadedPipeline> {
    const opened = await openPipeline(repo, options, pipelineSpecs)
    try {
      const Pipeline = constructors.get(opened.spec.className) ?? StableDiffusionPipeline
      return new Pipeline(opened)
    } catch (error) {
      await opened.hosts.dispose()
      opened.close()
      throw error
    }
  },

  /** What `fromPretrained` and one image would take: see {@link planPipeline}. */
  plan(repo: string | Repository, options: OpenPipelineOptions & PlannedSize = {}): Promise<PipelinePlan> {
    return planPipeline(repo, options, pipelineSpecs)
  },
}
