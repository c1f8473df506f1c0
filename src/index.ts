/** Aquatint's public API: what a page imports. All other modules may change in any release. */

export { DiffusionPipeline } from './engine/client/diffusion-pipeline.js'
export type { FromPretrainedOptions, FromSingleFileOptions, PlanOptions } from './engine/client/diffusion-pipeline.js'
export type { EncodePromptCallOptions, GenerateCallOptions, GenerateOutput } from './engine/client/generate-options.js'
export type { LoadEmbeddingCallOptions, LoadLoraCallOptions } from './engine/client/adapter-options.js'
export type { ComponentOptions } from './engine/client/component-options.js'
export type { Generation } from './engine/client/generation.js'
export type { ImageInput } from './engine/client/image-input.js'
export type { OverallProgress, ProgressReport } from './engine/client/overall-progress.js'
export { Engine } from './engine/client/engine-client.js'
export type { EngineOptions } from './engine/client/engine-client.js'
export type { EngineWorker, WorkerKind } from './engine/client/spawn-worker.js'
export type { CachedModelReference, ExportedFile } from './engine/protocol.js'
export { GeneratedImage } from './engine/client/generated-image.js'
export type { LossyImageType } from './engine/client/generated-image.js'
export { ModelCache } from './engine/client/model-cache.js'
export { readPngText } from './engine/client/png.js'
export type { PngText } from './engine/client/png.js'
export {
  AquatintError,
  CheckpointError,
  DeviceError,
  HubError,
  InputError,
  isAquatintError,
  StorageError,
  UnsupportedError,
} from './errors.js'
export type {
  AquatintErrorOf,
  DetailsAndCause,
  DetailsByCode,
  DetailsOf,
  ErrorDetail,
  ErrorDetails,
  ErrorKind,
  CheckpointErrorCode,
  DeviceErrorCode,
  ErrorCode,
  HubErrorCode,
  InputErrorCode,
  StorageErrorCode,
  UnsupportedErrorCode,
} from './errors.js'
export { componentLabel } from './component-names.js'
export type { ComponentName } from './component-names.js'
export type { CachedFile, CachedModel, VerifyResult } from './hub/cache/cache-manager.js'
export type { RepositoryReference } from './hub/repositories/open-repository.js'
export type { FileProgress } from './hub/types.js'
export type { PlacedPlan } from './pipelines/loading/plan-networks.js'
export type { LoadStorage } from './pipelines/loading/load-storage.js'
export type { PipelinePlan } from './pipelines/loading/plan-pipeline.js'
export type { LoadNote, PipelineInfo } from './pipelines/pipeline-info.js'
export type {
  CapturedTensorName,
  CapturedTensors,
  CheckpointReference,
  ComponentReference,
  DTypeName,
  EncodePromptOptions,
  GenerateOptions,
  GenerateResult,
  LoadPipelineOptions,
  OffloadMode,
  PipelineMemory,
  PipelinePhase,
  PipelineProgress,
  PixelImage,
  PlainTensor,
  PromptEmbeddings,
  PromptInput,
  PromptTexts,
  PromptWeighting,
  QuantizationName,
  SchedulerReference,
  SingleFileReference,
  StepInfo,
  WeightsDType,
  PlannedSize,
} from './pipelines/types.js'
export type {
  FuseLoraOptions,
  LoadEmbeddingOptions,
  LoadLoraOptions,
  LoraInfo,
  UnfuseLoraOptions,
} from './pipelines/adapter-types.js'
export type { ComponentPlan, MemoryPlan, Residence } from './memory/plan.js'
export type { ComponentMemory, MemorySnapshot } from './runtime/types.js'
export type { DeviceCapabilities, DeviceInfo, DeviceKind, DeviceName, KernelReport, KernelSource } from './memory/device-info.js'
