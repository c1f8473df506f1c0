/**
 * The protocol between the page and the worker: the calls, the events that a call sends back, and how errors cross. Both sides import
 * this file.
 */

import { type releaseProxy, transferHandlers, type TransferHandler } from 'comlink'
import { deserializeError, serializeError, type SerializedError } from '../errors.js'
import type { CachedFile, CachedModel, VerifyResult } from '../hub/cache/cache-manager.js'
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
  PlannedSize,
} from '../pipelines/types.js'
import type { AdapterCommand, LoraInfo } from '../pipelines/adapter-types.js'

/** Identifies a call, so that it can be cancelled. The page chooses it; it is unique within a connection. */
export type CallId = number

/** Identifies a loaded pipeline within a worker. */
export type PipelineId = number

/** What identifies a cached model. */
export type CachedModelReference = Pick<CachedModel, 'id' | 'endpoint' | 'revision'>

/** A complete file of a cached model. Its bytes are not loaded until the Blob is read. */
export interface ExportedFile {
  /** Path in the repository, such as `unet/config.json`. */
  readonly path: string
  /** Its bytes. */
  readonly blob: Blob
}

/** The input of a plan: the options of a load, and the size of the image. */
export type PlanRequest = LoadPipelineOptions & PlannedSize

/** An event that a call sends while it runs. */
export type EngineEvent =
  | { readonly type: 'progress'; readonly progress: PipelineProgress }
  | { readonly type: 'step'; readonly step: StepInfo }

/** Receives batches of events in order. The worker may send a batch before the previous one was received (event-relay.ts). */
export interface EventSink {
  (events: readonly EngineEvent[]): Promise<void> | void
  /** Closes the port, if the sink is a Comlink proxy. */
  readonly [releaseProxy]?: () => void
}

/** The calls that the worker handles. */
export interface EngineApi {
  /**
   * The first call. Through `workers` the page starts the workers that the engine's worker needs (page-worker.ts). Returns the name of a Web Lock that the
   * worker holds as long as it lives, or null if locks are not available.
   */
  hello(workers: MessagePort): Promise<string | null>
  load(
    call: CallId,
    repo: CheckpointReference,
    options: LoadPipelineOptions,
    onEvents: EventSink,
  ): Promise<{ readonly pipeline: PipelineId; readonly info: PipelineInfo }>
  /** Plans a load and the generation of one image. */
  plan(call: CallId, repo: CheckpointReference, options: PlanRequest, onEvents: EventSink): Promise<PipelinePlan>
  generate(
    call: CallId,
    pipeline: PipelineId,
    prompt: PromptInput,
    options: GenerateOptions,
    onEvents: EventSink,
  ): Promise<GenerateResult>
  /** Loads, activates or removes LoRAs, after the generations that were requested before. Returns the LoRAs that are loaded afterwards. */
  adapters(call: CallId, pipeline: PipelineId, command: AdapterCommand, onEvents: EventSink): Promise<readonly LoraInfo[]>
  /** Encodes prompts, after the generations that were requested before. */
  encodePrompt(
    call: CallId,
    pipeline: PipelineId,
    prompt: string | readonly string[],
    options: EncodePromptOptions,
    onEvents: EventSink,
  ): Promise<PromptEmbeddings>
  /** Cancels a call: its downloads and its step loop end, and its promise rejects with an AbortError. Unknown ids are ignored. */
  cancel(call: CallId): Promise<void>
  /** Cancels the calls of a pipeline, waits for them, then frees its memory. Unknown ids are ignored. */
  dispose(pipeline: PipelineId): Promise<void>
  /** Models with cached data, most recently used first. */
  cachedModels(): Promise<CachedModel[]>
  /** Stored files, most recently used first. A file that several models share is listed once. */
  cachedFiles(): Promise<CachedFile[]>
  /** The total number of stored bytes. */
  cachedBytes(): Promise<number>
  /** The complete files of a model. */
  exportCachedModel(model: CachedModel): Promise<ExportedFile[]>
  /** Deletes everything that is not in use. Resolves to the number of bytes freed. */
  clearCache(): Promise<number>
  /** Deletes the files of a model, except those that another model shares or that are in use. Resolves to the number of bytes freed. */
  deleteCachedModel(model: CachedModelReference): Promise<number>
  /** Compares each stored chunk of a model with its recorded digest, and deletes the chunks that differ. */
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
 * Replaces Comlink's handler for thrown values, which transmits only message, name and stack, by one that also transmits the class, code,
 * details and cause. Each side must call this before its first message.
 */
export function installErrorTransfer(): void {
  transferHandlers.set('throw', completeThrow)
}
