/** Test helper: an engine with scripted pipelines, connected to the client of the page by a real message channel. */

import { expose } from 'comlink'
import { onTestFinished } from 'vitest'
import type { CachedModel } from '../hub/cache/cache-manager.js'
import type { PipelineInfo } from '../pipelines/pipeline-info.js'
import type { CheckpointReference, GenerateResult } from '../pipelines/types.js'
import { Engine } from './client/engine-client.js'
import type { EngineWorker } from './client/spawn-worker.js'
import { capabilitiesOf, ownKernels } from '../memory/device-info.js'
import { WorkerEngine, type EngineCache, type EnginePipeline, type PipelineLoader, type PipelinePlanner } from './engine.js'
import { installErrorTransfer } from './protocol.js'

/** The info of a scripted pipeline. */
export const info: PipelineInfo = {
  label: 'Stable Diffusion',
  className: 'StableDiffusionPipeline',
  repo: 'a/b',
  revision: 'main',
  device: {
    name: 'wasm',
    kind: 'wasm',
    description: 'cpu',
    isFallbackAdapter: false,
    shaderF16: false,
    maxBufferSize: 0,
    kernels: ownKernels,
    capabilities: capabilitiesOf.wasm,
  },
  dtype: 'float32',
  devices: {},
  components: {},
  defaults: {
    width: 8,
    height: 8,
    numInferenceSteps: 2,
    guidanceScale: 7.5,
    fromImage: { numInferenceSteps: 2, guidanceScale: 7.5 },
  },
  scheduler: { className: 'DDIMScheduler', config: {} },
  imageToImage: true,
  guidance: 'classifier-free',
  promptWeighting: true,
  takesNegativePrompt: true,
  takesReferences: false,
  notes: [],
}
/** The result of a scripted pipeline. */
export const result = (seed: number): GenerateResult => ({
  images: [{ width: 1, height: 1, data: Uint8ClampedArray.of(1, 2, 3, 255) }],
  seed,
  timings: { encode: 0, denoise: 0, decode: 0 },
  warnings: [],
})
/** A pipeline that makes one pixel. */
export const pipeline = (parts: Partial<EnginePipeline> = {}): EnginePipeline => ({
  info,
  adapters: () => Promise.resolve([]),
  generate: (_prompt, { seed = 0 }) => Promise.resolve(result(seed)),
  encodePrompt: () => Promise.resolve({ promptEmbeds: { dims: [1, 1, 1], data: Float32Array.of(1) } }),
  dispose: () => Promise.resolve(),
  ...parts,
})
/** The name under which a repository was requested. */
export const nameOf = (repo: CheckpointReference) => (typeof repo === 'string' ? repo : 'folder')
/** A promise that rejects when the signal aborts, like every long operation. */
export const untilAborted = (signal: AbortSignal) =>
  new Promise<never>((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error)))

/** The model in the scripted cache. */
export const model: CachedModel = {
  id: 'a/b',
  endpoint: 'https://h',
  revision: 'main',
  files: [],
  stored: 7,
  lastUsed: new Date(5),
}
const cache: EngineCache = {
  models: () => Promise.resolve([model]),
  files: () => Promise.resolve([]),
  totalBytes: () => Promise.resolve(7),
  deleteModel: ({ id }) => Promise.resolve(id === model.id ? 7 : 0),
  clear: () => Promise.resolve(7),
  exportModel: () => Promise.resolve([]),
  verify: (_model, options) => untilAborted(options?.signal ?? new AbortController().signal),
}

/** An engine behind a message channel, which takes the place of the worker. */
export function engineWith(
  load: PipelineLoader,
  plan: PipelinePlanner = () => Promise.reject(new TypeError('Nothing is planned here')),
): { engine: Engine; started: () => number } {
  let started = 0
  const ports: MessagePort[] = []
  onTestFinished(() => {
    for (const port of ports) port.close()
  })
  const spawn = (): EngineWorker => {
    started++
    const { port1, port2 } = new MessageChannel()
    ports.push(port1, port2)
    installErrorTransfer()
    expose(new WorkerEngine({ load, plan, cache: () => Promise.resolve(cache) }), port2)
    port1.start()
    return Object.assign(port1, { terminate: () => port2.close() })
  }
  return { engine: new Engine({ worker: spawn }), started: () => started }
}
