/**
 * What the page and the engine's worker say to each other: the calls, the events a call sends back, and how errors cross.
 * Both sides import this file; it holds no state and starts nothing.
 */

import { type releaseProxy, transferHandlers, type TransferHandler } from 'comlink'
import { deserializeError, serializeError, type SerializedError } from '../errors.js'
import type { CachedFile, CachedModel, VerifyResult } from '../hub/cache/cache-manager.js'
import type { RepositoryReference } from '../hub/repositories/open-repository.js'
import type { PipelinePlan, PlannedSize } from '../pipelines/loading/plan-pipeline.js'
import type {
  GenerateOptions,
  GenerateResult,
  LoadPipelineOptions,
  PipelineInfo,
  PipelineProgress,
  StepInfo,
} from '../pipelines/types.js'

/** Names one call, so that it can be cancelled. Chosen by the page, unique in its connection. */
export type CallId = number

/** Names one loaded pipeline in one worker. */
export type PipelineId = number

/** What tells a cached model from another. */
export type CachedModelReference = Pick<CachedModel, 'id' | 'endpoint' | 'revision'>

/** One whole file of a cached model, by its path in the repository. Its bytes stay where they are until they are read. */
export interface ExportedFile {
  /** Path in the repository, such as `unet/config.json`. */
  readonly path: string
  /** The whole file. */
  readonly blob: Blob
}

/** What a plan is asked for: the options of a load, and the image's size. */
export type PlanRequest = LoadPipelineOptions & PlannedSize

/** What a call reports while it runs. */
export type EngineEvent =
  | { readonly type: 'progress'; readonly progress: PipelineProgress }
  | { readonly type: 'step'; readonly step: StepInfo }

/** Takes events in order; the worker sends the next batch when the last one has been taken. */
export interface EventSink {
  (events: readonly EngineEvent[]): Promise<void> | void
  /** Where the sink is a Comlink proxy: closes its port. */
  readonly [releaseProxy]?: () => void
}

/** The calls the worker answers. */
export interface EngineApi {
  /** The name of a Web Lock that the worker holds for as long as it lives, or null where there are no locks. */
  hello(): Promise<string | null>
  load(
    call: CallId,
    repo: RepositoryReference,
    options: LoadPipelineOptions,
    onEvents: EventSink,
  ): Promise<{ readonly pipeline: PipelineId; readonly info: PipelineInfo }>
  /** What a load and one image would take. */
  plan(call: CallId, repo: RepositoryReference, options: PlanRequest, onEvents: EventSink): Promise<PipelinePlan>
  generate(
    call: CallId,
    pipeline: PipelineId,
    prompt: string,
    options: GenerateOptions,
    onEvents: EventSink,
  ): Promise<GenerateResult>
  /** Stops a call: requests end, the step loop ends, its promise rejects with an AbortError. Unknown ids are ignored. */
  cancel(call: CallId): Promise<void>
  /** Cancels the pipeline's calls, waits for them, gives back everything it holds. Unknown ids are ignored. */
  dispose(pipeline: PipelineId): Promise<void>
  /** Models of which something is cached, the one used last first. */
  cachedModels(): Promise<CachedModel[]>
  /** Every content that is stored, the one used last first. */
  cachedFiles(): Promise<CachedFile[]>
  /** Bytes stored in all. */
  cachedBytes(): Promise<number>
  /** A model's complete files. */
  exportCachedModel(model: CachedModel): Promise<ExportedFile[]>
  /** Deletes everything that is not in use. Resolves to the bytes that became free. */
  clearCache(): Promise<number>
  /** Deletes a model's files but those that another model has too or that are in use. Resolves to the bytes that became free. */
  deleteCachedModel(model: CachedModelReference): Promise<number>
  /** Compares what is stored of a model with its hashes, and deletes what is wrong. */
  verifyCachedModel(call: CallId, model: CachedModel, onEvents: EventSink): Promise<VerifyResult>
}

const plainThrow = transferHandlers.get('throw')

const completeThrow: TransferHandler<{ value: unknown }, SerializedError> = {
  canHandle: (value): value is { value: unknown } => plainThrow?.canHandle(value) === true,
  serialize: ({ value }) => [serializeError(value), []],
  deserialize: (data) => {
    throw deserializeError(data)
  },
}

/**
 * Replaces Comlink's handler for thrown values, which carries an error's message, name and stack only, by one that carries
 * its class, code, details and cause. For each side to call before its first message.
 */
export function installErrorTransfer(): void {
  transferHandlers.set('throw', completeThrow)
}
