/** Loads and plans pipelines: a repository becomes whichever pipeline its model_index.json names. */

import { families } from './families.js'
import { createPipeline, type LoadedPipeline } from './generation/loaded-pipeline.js'
import type { PipelineFamily } from './generation/pipeline-family.js'
import type { OpenPipelineOptions, PipelineSource } from './loading/find-pipeline.js'
import { openPipeline } from './loading/open-pipeline.js'
import { planPipeline, type PipelinePlan } from './loading/plan-pipeline.js'
import type { PlannedSize } from './types.js'

/**
 * Loads a pipeline of one of the classes `known`. `repo`: a Hub id, a base URL, or an open repository.
 * @throws UnsupportedError `unsupported-class`, `unsupported-config`; InputError; HubError; CheckpointError; DeviceError; AbortError
 */
export async function loadPipeline(
  repo: PipelineSource,
  options: OpenPipelineOptions = {},
  known: readonly PipelineFamily[] = families,
): Promise<LoadedPipeline> {
  const opened = await openPipeline(repo, options, known)
  try {
    return createPipeline(opened)
  } catch (error) {
    await opened.hosts.dispose()
    opened.close()
    throw error
  }
}

export type { LoadedPipeline }

/** Plans {@link loadPipeline} and one image: see {@link planPipeline}. */
export function planLoad(
  repo: PipelineSource,
  options: OpenPipelineOptions & PlannedSize = {},
  known: readonly PipelineFamily[] = families,
): Promise<PipelinePlan> {
  return planPipeline(repo, options, known)
}
