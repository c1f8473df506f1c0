/**
 * The names of all options, so that a misspelt option is an error instead of being ignored. Values are checked where they are used. These are
 * the only lists of option names; the compiler compares them with the types.
 */

import { InputError } from '../../errors.js'
import type { EncodePromptOptions, GenerateOptions, LoadPipelineOptions, PlannedSize } from '../../pipelines/types.js'
import type { FuseLoraOptions, LoadEmbeddingOptions, LoadLoraOptions, UnfuseLoraOptions } from '../../pipelines/adapter-types.js'
import { componentNames } from '../../component-names.js'

/** Every option of a type. A missing or an extra name is a type error. */
type Names<Options> = Readonly<Record<keyof Options, true>>

const load: Names<LoadPipelineOptions> = {
  revision: true,
  variant: true,
  token: true,
  endpoint: true,
  dtype: true,
  device: true,
  deviceMap: true,
  kernels: true,
  offload: true,
  maxMemory: true,
  keepOriginal: true,
  vaeTiling: true,
  components: true,
  prepareFor: true,
  revalidate: true,
  scheduler: true,
}

const encode: Names<EncodePromptOptions> = {
  prompt2: true,
  prompt3: true,
  negativePrompt: true,
  negativePrompt2: true,
  negativePrompt3: true,
  clipSkip: true,
  maxSequenceLength: true,
  promptWeighting: true,
}

const generate: Names<GenerateOptions> = {
  ...encode,
  promptEmbeds: true,
  negativePromptEmbeds: true,
  pooledPromptEmbeds: true,
  negativePooledPromptEmbeds: true,
  promptAttentionMask: true,
  negativePromptAttentionMask: true,
  numInferenceSteps: true,
  guidanceScale: true,
  trueCfgScale: true,
  cfgNormalization: true,
  cfgTruncation: true,
  guidanceRescale: true,
  width: true,
  height: true,
  image: true,
  strength: true,
  numImagesPerPrompt: true,
  seed: true,
  eta: true,
  timesteps: true,
  sigmas: true,
  skipGuidanceLayers: true,
  skipLayerGuidanceScale: true,
  skipLayerGuidanceStart: true,
  skipLayerGuidanceStop: true,
  originalSize: true,
  cropsCoordsTopLeft: true,
  targetSize: true,
  negativeOriginalSize: true,
  negativeCropsCoordsTopLeft: true,
  negativeTargetSize: true,
  scheduler: true,
  capture: true,
  previewEvery: true,
}

const lora: Names<LoadLoraOptions> = { adapterName: true, weightName: true, subfolder: true, revision: true, scale: true }

const unfuse: Names<UnfuseLoraOptions> = { components: true }

const fuse: Names<FuseLoraOptions> = { ...unfuse, adapterNames: true, loraScale: true }

const embedding: Names<LoadEmbeddingOptions> = { token: true, weightName: true, subfolder: true, revision: true }

/** The options of `loadTextualInversion`. */
export const loadEmbeddingOptionNames = [...Object.keys(embedding), 'signal', 'onProgress']

/** The options of `fuseLora`. */
export const fuseLoraOptionNames = Object.keys(fuse)

/** The options of `unfuseLora`. */
export const unfuseLoraOptionNames = Object.keys(unfuse)

/** The options of `loadLoraWeights`. */
export const loadLoraOptionNames = [...Object.keys(lora), 'signal', 'onProgress']

/** The options of `fromPretrained`. */
export const fromPretrainedOptionNames = [...Object.keys(load), ...componentNames, 'signal', 'onProgress', 'engine']

const size: Names<PlannedSize> = {
  width: true,
  height: true,
  numImagesPerPrompt: true,
  maxSequenceLength: true,
  guidanceScale: true,
  trueCfgScale: true,
  imageToImage: true,
  skipGuidanceLayers: true,
}

/** The options of `plan`. */
export const planOptionNames = [...Object.keys(load), ...Object.keys(size), ...componentNames, 'signal', 'engine']

/** The options of `generate`. */
export const generateOptionNames = [...Object.keys(generate), 'signal', 'onProgress', 'onStep']

/** The options of `encodePrompt`. */
export const encodePromptOptionNames = [...Object.keys(encode), 'signal']

/** Checks the names of options; an option whose value is undefined counts as absent. @throws InputError `unknown-option` */
export function checkOptionNames(options: object, allowed: readonly string[]): void {
  for (const [option, value] of Object.entries(options)) {
    if (value === undefined || allowed.includes(option)) continue
    const shown = option.slice(0, 200)
    throw new InputError('unknown-option', `There is no option ${JSON.stringify(shown)}; allowed: ${allowed.join(', ')}.`, {
      option: shown,
      allowed,
    })
  }
}
