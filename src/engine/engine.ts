/**
 * The engine inside the worker. It keeps the loaded pipelines, runs one generation at a time, turns cancel messages into AbortSignals and
 * forwards events. It uses pipelines only through their interface, and can also run outside a worker.
 */

import { releaseProxy } from 'comlink'
import { InputError } from '../errors.js'
import type { CachedFile, CachedModel, CacheManager, VerifyResult } from '../hub/cache/cache-manager.js'
import type { CallHooks } from '../pipelines/run.js'
import type { PipelinePlan } from '../pipelines/loading/plan-pipeline.js'
import type { PipelineInfo } from '../pipelines/pipeline-info.js'
import type {
  CheckpointReference,
  EncodePromptOptions,
  GenerateOptions,
  GenerateResult,
  LoadPipelineOptions,
  PipelineProgress,
  PromptEmbeddings,
  PromptInput,
  StepInfo,
} from '../pipelines/types.js'
import type { AdapterCommand, LoraInfo } from '../pipelines/adapter-types.js'
import { orAbort } from '../util/abort.js'
import { EventRelay } from './event-relay.js'
import type { CachedModelReference, CallId, EngineApi, EventSink, ExportedFile, PipelineId, PlanRequest } from './protocol.js'
import { transferPreviews, transferResult } from './transfers.js'

/** The hooks that the engine passes with every call. The engine always sets `signal` and `onProgress`. */
interface EngineCallHooks extends CallHooks {
  readonly signal: AbortSignal
  readonly onProgress: (progress: PipelineProgress) => void
}

/** The part of a loaded pipeline that the engine uses. */
export interface EnginePipeline {
  readonly info: PipelineInfo
  adapters(command: AdapterCommand, hooks: EngineCallHooks): Promise<readonly LoraInfo[]>
  generate(
    prompt: PromptInput,
    options: GenerateOptions & EngineCallHooks & { readonly onStep: (step: StepInfo) => void },
  ): Promise<GenerateResult>
  encodePrompt(prompt: string | readonly string[], options: EncodePromptOptions & EngineCallHooks): Promise<PromptEmbeddings>
  dispose(): Promise<void>
}

/** Loads a pipeline: `DiffusionPipeline.fromPretrained`. */
export type PipelineLoader = (
  repo: CheckpointReference,
  options: LoadPipelineOptions & EngineCallHooks,
) => Promise<EnginePipeline>

/** Plans a pipeline: `DiffusionPipeline.plan`. */
export type PipelinePlanner = (
  repo: CheckpointReference,
  options: PlanRequest & Pick<EngineCallHooks, 'signal'>,
) => Promise<PipelinePlan>

/** The part of the cache manager that the engine offers. */
export type EngineCache = Pick<
  CacheManager,
  'models' | 'files' | 'totalBytes' | 'deleteModel' | 'clear' | 'verify' | 'exportModel'
>

/** What an engine depends on. */
export interface EngineParts {
  readonly load: PipelineLoader
  readonly plan: PipelinePlanner
  /** The cache, opened at first use. */
  readonly cache: () => Promise<EngineCache>
  /** Receives the port over which this worker asks the page to start workers for it. */
  readonly useWorkers?: ((port: MessagePort) => void) | undefined
  /** Resolves to the name of the Web Lock that this worker holds. */
  readonly lock?: Promise<string | null> | undefined
}

interface Entry {
  readonly pipeline: EnginePipeline
  /** The running calls of the pipeline. */
  readonly calls: Map<CallId, Promise<unknown>>
}

/** Handles the calls of {@link EngineApi}. */
export class WorkerEngine implements EngineApi {
  readonly #parts: EngineParts
  readonly #running = new Map<CallId, AbortController>()
  readonly #pipelines = new Map<PipelineId, Entry>()
  #nextPipeline = 1
  /** Settles when all calls of pipelines that were requested so far have ended. */
  #turn: Promise<unknown> = Promise.resolve()

  constructor(parts: EngineParts) {
    this.#parts = parts
  }

  hello(workers: MessagePort): Promise<string | null> {
    this.#parts.useWorkers?.(workers)
    return this.#parts.lock ?? Promise.resolve(null)
  }

  load(
    call: CallId,
    repo: CheckpointReference,
    options: LoadPipelineOptions,
    onEvents: EventSink,
  ): Promise<{ pipeline: PipelineId; info: PipelineInfo }> {
    return this.#call(call, onEvents, async (relay, signal) => {
      const pipeline = await this.#parts.load(repo, {
        ...options,
        prepareFor: options.prepareFor === undefined ? {} : options.prepareFor,
        signal,
        onProgress: (progress) => relay.push({ type: 'progress', progress }),
      })
      if (signal.aborted) {
        // The call was cancelled after the load last checked the signal: no other code would dispose the pipeline.
        await pipeline.dispose()
        signal.throwIfAborted()
      }
      const id = this.#nextPipeline++
      this.#pipelines.set(id, { pipeline, calls: new Map() })
      return { pipeline: id, info: pipeline.info }
    })
  }

  plan(call: CallId, repo: CheckpointReference, options: PlanRequest, onEvents: EventSink): Promise<PipelinePlan> {
    return this.#call(call, onEvents, (_relay, signal) => this.#parts.plan(repo, { ...options, signal }))
  }

  async generate(
    call: CallId,
    id: PipelineId,
    prompt: PromptInput,
    options: GenerateOptions,
    onEvents: EventSink,
  ): Promise<GenerateResult> {
    const result = await this.#pipelineCall(call, id, onEvents, (pipeline, hooks, relay) =>
      pipeline.generate(prompt, { ...options, ...hooks, onStep: (step) => relay.push({ type: 'step', step }) }),
    )
    return transferResult(result)
  }

  adapters(call: CallId, id: PipelineId, command: AdapterCommand, onEvents: EventSink): Promise<readonly LoraInfo[]> {
    return this.#pipelineCall(call, id, onEvents, (pipeline, hooks) => pipeline.adapters(command, hooks))
  }

  encodePrompt(
    call: CallId,
    id: PipelineId,
    prompt: string | readonly string[],
    options: EncodePromptOptions,
    onEvents: EventSink,
  ): Promise<PromptEmbeddings> {
    return this.#pipelineCall(call, id, onEvents, (pipeline, hooks) => pipeline.encodePrompt(prompt, { ...options, ...hooks }))
  }

  /** Runs a call of a loaded pipeline in its turn. @throws InputError `pipeline-disposed` */
  async #pipelineCall<T>(
    call: CallId,
    id: PipelineId,
    onEvents: EventSink,
    work: (pipeline: EnginePipeline, hooks: EngineCallHooks, relay: EventRelay) => Promise<T>,
  ): Promise<T> {
    const entry = this.#pipelines.get(id)
    if (entry === undefined) throw new InputError('pipeline-disposed', 'This pipeline has been disposed.', { pipeline: id })
    const running = this.#call(call, onEvents, (relay, signal) =>
      this.#inTurn(signal, () =>
        work(entry.pipeline, { signal, onProgress: (progress) => relay.push({ type: 'progress', progress }) }, relay),
      ),
    )
    entry.calls.set(call, running)
    try {
      return await running
    } finally {
      entry.calls.delete(call)
    }
  }

  cancel(call: CallId): Promise<void> {
    this.#running.get(call)?.abort()
    return Promise.resolve()
  }

  async dispose(id: PipelineId): Promise<void> {
    const entry = this.#pipelines.get(id)
    if (entry === undefined) return
    this.#pipelines.delete(id)
    for (const call of entry.calls.keys()) this.#running.get(call)?.abort()
    // Do not wait for the calls of other pipelines: each pipeline has its own device.
    await Promise.allSettled(entry.calls.values())
    await entry.pipeline.dispose()
  }

  async cachedModels(): Promise<CachedModel[]> {
    return (await this.#parts.cache()).models()
  }

  async cachedFiles(): Promise<CachedFile[]> {
    return (await this.#parts.cache()).files()
  }

  async cachedBytes(): Promise<number> {
    return (await this.#parts.cache()).totalBytes()
  }

  async exportCachedModel(model: CachedModel): Promise<ExportedFile[]> {
    return (await this.#parts.cache()).exportModel(model)
  }

  async clearCache(): Promise<number> {
    return (await this.#parts.cache()).clear()
  }

  async deleteCachedModel(model: CachedModelReference): Promise<number> {
    return (await this.#parts.cache()).deleteModel(model)
  }

  verifyCachedModel(call: CallId, model: CachedModel, onEvents: EventSink): Promise<VerifyResult> {
    return this.#call(call, onEvents, async (_relay, signal) => (await this.#parts.cache()).verify(model, { signal }))
  }

  /** Runs `work` with a signal that `cancel(call)` aborts. All events are delivered before the returned promise settles. */
  async #call<T>(call: CallId, onEvents: EventSink, work: (relay: EventRelay, signal: AbortSignal) => Promise<T>): Promise<T> {
    const controller = new AbortController()
    const relay = new EventRelay((events) => onEvents(transferPreviews(events)))
    this.#running.set(call, controller)
    try {
      return await work(relay, controller.signal)
    } finally {
      this.#running.delete(call)
      await relay.finish()
      onEvents[releaseProxy]?.()
    }
  }

  /** Runs `work` after all earlier calls of pipelines. A call that is cancelled while it waits leaves the queue at once. */
  #inTurn<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    const run = runAfter(this.#turn, signal, work)
    // Wait for both: when a call leaves the queue early, the next call must still wait for the one that runs.
    this.#turn = Promise.allSettled([this.#turn, run])
    return run
  }
}

async function runAfter<T>(previous: Promise<unknown>, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  await orAbort(previous, signal)
  return work()
}
