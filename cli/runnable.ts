/** Whether Aquatint can run a checkpoint: each network's graph is written from its config and held against its table, each scheduler made. */

import { readConfig } from '../src/checkpoint/model-index.js'
import type { Config, WeightTable } from '../src/checkpoint/types.js'
import { isAquatintError } from '../src/errors.js'
import type { ReadOptions, Repository } from '../src/hub/types.js'
import { autoencoderKLDecoder } from '../src/models/autoencoder-kl.js'
import { clipTextModel } from '../src/models/clip-text-model.js'
import { matchWeights, type NetworkClass } from '../src/models/match-weights.js'
import { unet2DConditionModel } from '../src/models/unet-2d-condition.js'
import type { ComponentGraph, WriteOptions } from '../src/onnx/types.js'
import { createScheduler } from '../src/schedulers/registry.js'
import type { ComponentFiles } from './components.js'

/** Something about a component that a person should know. */
export interface Finding {
  /** '' for the whole checkpoint. */
  readonly component: string
  readonly code: string
  readonly message: string
}

export interface Findings {
  readonly problems: readonly Finding[]
  readonly warnings: readonly Finding[]
}

const writeOptions: WriteOptions = { dtype: 'float32', weights: 'input', granularity: 'block' }

/** A graph of each class, at a small size: what a config cannot do shows at any size. */
const writers: Readonly<Partial<Record<string, (config: Config) => ComponentGraph>>> = {
  CLIPTextModel: (config) => clipTextModel('CLIPTextModel', config, { batch: 1, sequenceLength: 8 }, writeOptions),
  CLIPTextModelWithProjection: (config) =>
    clipTextModel('CLIPTextModelWithProjection', config, { batch: 1, sequenceLength: 8 }, writeOptions),
  UNet2DConditionModel: (config) =>
    unet2DConditionModel(config, { batch: 1, height: 16, width: 16, sequenceLength: 8 }, writeOptions),
  AutoencoderKL: (config) => autoencoderKLDecoder(config, { batch: 1, height: 16, width: 16 }, writeOptions),
}

/** Components that a pipeline names and Aquatint does without, as it says in the docs. */
const leftAlone = new Set(['safety_checker', 'feature_extractor', 'image_encoder', 'watermark'])

const pipelines: readonly string[] = ['StableDiffusionPipeline', 'StableDiffusionXLPipeline']

/** Whether the pipeline's class is one that Aquatint has. */
export function checkPipeline(className: string): Finding[] {
  if (pipelines.includes(className)) return []
  return [
    {
      component: '',
      code: 'unsupported-class',
      message: `The pipeline ${className} is not supported; supported: ${pipelines.join(', ')}.`,
    },
  ]
}

/** Holds one component against what Aquatint has. @throws CheckpointError, UnsupportedError for what is wrong with it */
export async function checkComponent(
  repository: Repository,
  pipeline: string | null,
  component: ComponentFiles,
  table: WeightTable | null,
  options: ReadOptions,
): Promise<Findings> {
  const { name, className, config } = component
  const found = { problems: [] as Finding[], warnings: [] as Finding[] }
  const problem = (code: string, message: string) => found.problems.push({ component: name, code, message })
  const warning = (code: string, message: string) => found.warnings.push({ component: name, code, message })
  if (leftAlone.has(name)) {
    if (table !== null) warning('unused-component', `Aquatint does not use it, and does not download it.`)
  } else if (name === 'scheduler') {
    try {
      const { unexpectedKeys } = createScheduler(
        className,
        await readConfig(repository, 'scheduler/scheduler_config.json', options),
      )
      if (unexpectedKeys.length > 0)
        warning('unexpected-keys', `${className} has no ${unexpectedKeys.join(', ')}; diffusers ignores them too.`)
    } catch (error) {
      if (!isAquatintError(error) || error.name === 'HubError') throw error
      // Another scheduler can be chosen when the pipeline is made.
      warning(error.code, `${error.message} Another scheduler can be chosen in the page.`)
    }
  } else if (table !== null) {
    const writer = writers[className]
    if (writer === undefined)
      problem('unsupported-class', `The class ${className} is not supported; supported: ${Object.keys(writers).join(', ')}.`)
    else if (config === null) problem('file-not-found', 'It has no config.json.')
    else {
      const { unexpected } = matchWeights(className as NetworkClass, [writer(config)], table)
      if (unexpected.length > 0)
        warning(
          'unexpected-tensors',
          `${unexpected.length} tensors are no part of ${className} and are not used, such as ${unexpected[0]}.`,
        )
    }
  } else if (pipeline !== null && /(?:^|_)(?:unet|transformer|vae|text_encoder(?:_\d)?)$/.test(name)) {
    problem('weights-not-found', 'It has no weights.')
  }
  return found
}
