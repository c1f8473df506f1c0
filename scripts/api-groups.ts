/** The order of docs/api.md: which public names belong together. api-reference.ts fails if a public name is in no group, or in two. */

/** One section of the page. */
export interface Group {
  readonly title: string
  /** What the section is for, in one or two sentences. */
  readonly intro: string
  /** The public names, the most important first. */
  readonly names: readonly string[]
}

/** The sections of the page, in order. */
export const groups: readonly Group[] = [
  {
    title: 'Loading',
    intro: 'Load a pipeline, choose its files and components, and see what was loaded.',
    names: [
      'DiffusionPipeline',
      'FromPretrainedOptions',
      'FromSingleFileOptions',
      'CheckpointReference',
      'SingleFileReference',
      'LoadPipelineOptions',
      'ComponentOptions',
      'ComponentReference',
      'ComponentName',
      'componentLabel',
      'SchedulerReference',
      'RepositoryReference',
      'PipelineInfo',
      'LoadNote',
      'ProgressReport',
      'OverallProgress',
      'PipelineProgress',
      'PipelinePhase',
      'FileProgress',
      'Engine',
      'EngineOptions',
      'EngineWorker',
      'WorkerKind',
    ],
  },
  {
    title: 'Generating',
    intro: 'Generate images, follow the steps, and save the result.',
    names: [
      'GenerateCallOptions',
      'GenerateOptions',
      'ImageInput',
      'Generation',
      'StepInfo',
      'GenerateOutput',
      'GenerateResult',
      'GeneratedImage',
      'LossyImageType',
      'readPngText',
      'PngText',
      'CapturedTensorName',
      'CapturedTensors',
    ],
  },
  {
    title: 'Planning and memory',
    intro: 'Predict the download and the memory of a pipeline, and observe its memory. The guide is [memory.md](memory.md).',
    names: [
      'PlanOptions',
      'PlannedSize',
      'PipelinePlan',
      'PlacedPlan',
      'MemoryPlan',
      'ComponentPlan',
      'Residence',
      'OffloadMode',
      'PipelineMemory',
      'MemorySnapshot',
      'ComponentMemory',
      'DeviceInfo',
      'KernelReport',
      'KernelSource',
      'DeviceCapabilities',
      'DeviceKind',
      'DeviceName',
    ],
  },
  {
    title: 'Cache',
    intro: 'List, verify, export and delete cached models. The guide is [offline.md](offline.md).',
    names: ['ModelCache', 'CachedModel', 'CachedFile', 'CachedModelReference', 'VerifyResult', 'ExportedFile'],
  },
  {
    title: 'Errors',
    intro: 'The classes of errors. [errors.md](errors.md) lists all codes.',
    names: [
      'AquatintError',
      'isAquatintError',
      'InputError',
      'HubError',
      'StorageError',
      'CheckpointError',
      'UnsupportedError',
      'DeviceError',
      'ErrorKind',
      'ErrorDetail',
      'ErrorCode',
      'InputErrorCode',
      'HubErrorCode',
      'StorageErrorCode',
      'CheckpointErrorCode',
      'UnsupportedErrorCode',
      'DeviceErrorCode',
    ],
  },
  {
    title: 'Types',
    intro: 'Types that several sections use.',
    names: ['DTypeName', 'WeightsDType', 'QuantizationName', 'PixelImage', 'PlainTensor'],
  },
  {
    title: 'The element',
    intro: 'Exported by `aquatint/element`, which also defines the custom element. The guide is [embedding.md](embedding.md).',
    names: [
      'AquatintPrompt',
      'FormControl',
      'AquatintPromptEvents',
      'ImageDetail',
      'PromptSettings',
      'ModelOption',
      'RunnerState',
    ],
  },
]
