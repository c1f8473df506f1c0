/** How the worker loads pipelines: the real `DiffusionPipeline`, on the worker's one hub. */

import { openRepository } from '../hub/open-repository.js'
import { DiffusionPipeline } from '../pipelines/diffusion-pipeline.js'
import type { PipelineLoader } from './engine.js'
import type { SharedHub } from './shared-hub.js'

/** A loader for an {@link Engine}. */
export function pipelineLoader(shared: SharedHub): PipelineLoader {
  return (reference, options) =>
    shared.use(
      ({ code, message }) => options.onProgress({ type: 'warning', code, message }),
      async (hub) => {
        // Names are opened by the pipeline, which may open more of them; a folder has no name to open it by.
        const { signal } = options
        const repo = typeof reference === 'string' ? reference : await openRepository(hub, reference, { signal })
        return DiffusionPipeline.fromPretrained(repo, { ...options, hub })
      },
    )
}
