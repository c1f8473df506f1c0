/** Loads and plans pipelines in the worker, with the real loader and the single hub. */

import type { Hub } from '../hub/hub.js'
import { openRepository } from '../hub/repositories/open-repository.js'
import { loadPipeline, planLoad } from '../pipelines/diffusion-pipeline.js'
import type { CheckpointReference } from '../pipelines/types.js'
import { checkWebAssembly } from '../util/check-webassembly.js'
import type { PipelineLoader, PipelinePlanner } from './engine.js'
import type { SharedHub } from './shared-hub.js'

/** The loader of a {@link WorkerEngine}. */
export function pipelineLoader(shared: SharedHub): PipelineLoader {
  return async (reference, options) => {
    await checkWebAssembly()
    return shared.use(
      ({ code, message }) => options.onProgress({ type: 'warning', code, message }),
      async (hub) => loadPipeline(await repositoryOf(hub, reference, options.signal), { ...options, hub }),
    )
  }
}

/** The planner of a {@link WorkerEngine}. */
export function pipelinePlanner(shared: SharedHub): PipelinePlanner {
  return async (reference, options) => {
    await checkWebAssembly()
    const hub = await shared.open()
    return planLoad(await repositoryOf(hub, reference, options.signal), { ...options, hub })
  }
}

/** Opens a folder. A name or a single file is returned as it is, because the pipeline opens it together with other repositories. */
async function repositoryOf(hub: Hub, reference: CheckpointReference, signal: AbortSignal) {
  const only = Array.isArray(reference) && reference.length === 1 ? (reference[0] as File) : undefined
  if (only !== undefined && /\.(?:safetensors|gguf|ckpt)$/i.test(only.name)) return { singleFile: only }
  return typeof reference === 'string' || 'singleFile' in reference ? reference : openRepository(hub, reference, { signal })
}
