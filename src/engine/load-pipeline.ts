/** How the worker loads and plans pipelines: the real `DiffusionPipeline`, on the worker's one hub. */

import type { Hub } from '../hub/hub.js'
import { openRepository, type RepositoryReference } from '../hub/repositories/open-repository.js'
import { DiffusionPipeline } from '../pipelines/diffusion-pipeline.js'
import type { PipelineLoader, PipelinePlanner } from './engine.js'
import type { SharedHub } from './shared-hub.js'

/** A loader for a {@link WorkerEngine}. */
export function pipelineLoader(shared: SharedHub): PipelineLoader {
  return (reference, options) =>
    shared.use(
      ({ code, message }) => options.onProgress({ type: 'warning', code, message }),
      async (hub) => DiffusionPipeline.fromPretrained(await repositoryOf(hub, reference, options.signal), { ...options, hub }),
    )
}

/** A planner for a {@link WorkerEngine}. */
export function pipelinePlanner(shared: SharedHub): PipelinePlanner {
  return async (reference, options) => {
    const hub = await shared.open()
    return DiffusionPipeline.plan(await repositoryOf(hub, reference, options.signal), { ...options, hub })
  }
}

/** Names are opened by the pipeline, which may open more of them; a folder has no name to open it by. */
async function repositoryOf(hub: Hub, reference: RepositoryReference, signal: AbortSignal) {
  return typeof reference === 'string' ? reference : openRepository(hub, reference, { signal })
}
