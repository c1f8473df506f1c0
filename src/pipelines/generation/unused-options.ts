/** Warnings about options that a generation does not read. diffusers' classes refuse an argument that they do not have. */

import type { Run } from '../run.js'
import type { GenerateOptions } from '../types.js'
import type { PipelineFamily } from './pipeline-family.js'
import { hasNegativePrompt } from './prompt-batch.js'

type Option = keyof GenerateOptions

const secondPrompts = ['prompt2', 'negativePrompt2'] as const
const thirdPrompts = ['prompt3', 'negativePrompt3'] as const
const limits = ['cfgNormalization', 'cfgTruncation'] as const
const skips = ['skipGuidanceLayers', 'skipLayerGuidanceScale', 'skipLayerGuidanceStart', 'skipLayerGuidanceStop'] as const
const sizes = ['originalSize', 'cropsCoordsTopLeft', 'targetSize'] as const
const negativeSizes = ['negativeOriginalSize', 'negativeCropsCoordsTopLeft', 'negativeTargetSize'] as const

/** The options that other classes have and this class does not. */
function absentOptions(family: PipelineFamily, takesClipSkip: boolean): readonly Option[] {
  const has = (tokenizer: string) => Object.hasOwn(family.tokenizers, tokenizer)
  return [
    ...(has('tokenizer_2') ? [] : secondPrompts),
    ...(has('tokenizer_3') ? [] : thirdPrompts),
    ...(family.takesTrueCfg === true ? [] : (['trueCfgScale'] as const)),
    ...(family.limitsGuidance === true ? [] : limits),
    ...(family.rescalesGuidance ? [] : (['guidanceRescale'] as const)),
    ...(takesClipSkip ? [] : (['clipSkip'] as const)),
    ...(family.defaults.maxSequenceLength !== undefined ? [] : (['maxSequenceLength'] as const)),
    ...(family.refine === undefined ? skips : []),
    ...(family.takesSizes === true ? [] : [...sizes, ...negativeSizes]),
  ]
}

/** Whether a value requests nothing, so that leaving it unused needs no warning. */
function isNeutral(option: Option, value: unknown): boolean {
  if (value === undefined || value === null || value === 0 || value === false) return true
  if (option === 'trueCfgScale') return typeof value === 'number' && value <= 1
  if (option === 'cfgTruncation') return typeof value === 'number' && value >= 1
  return [value].flat().every((one) => one === '')
}

/** Warns about each option that has a value and no effect. `takesClipSkip`: whether the denoiser reads hidden states of CLIP. */
export function warnOfUnusedOptions(family: PipelineFamily, options: GenerateOptions, takesClipSkip: boolean, run: Run): void {
  const absent = absentOptions(family, takesClipSkip).filter((option) => !isNeutral(option, options[option]))
  if (absent.length > 0)
    run.warn(
      'option-unused',
      `${family.className} has no ${absent.join(', ')}; ${absent.length === 1 ? 'the value is' : 'the values are'} not used.`,
    )
  if (options.strength !== undefined && family.takesReferences === true)
    run.warn(
      'option-unused',
      `strength is not used: the images of ${family.className} are references, from which it does not start.`,
    )
  else if (options.strength !== undefined && options.image === undefined)
    run.warn('option-unused', 'strength is not used without an image to start from.')
  if (family.takesTrueCfg === true && !hasNegativePrompt(options) && (options.trueCfgScale ?? 1) > 1)
    run.warn('no-negative-prompt', 'trueCfgScale is not used without negativePrompt.')
  if (family.takesNegativePrompt === false && [options.negativePrompt ?? ''].flat().some((text) => text !== ''))
    run.warn('negative-prompt', `${family.className} has no negative prompt; the one that is given is not used.`)
}
