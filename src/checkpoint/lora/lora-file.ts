/**
 * Reads a LoRA file: the header, the alphas and the metadata. The factors themselves stay in the file; whoever loads a network reads them.
 */

import { CheckpointError, UnsupportedError } from '../../errors.js'
import type { ByteSource, ReadOptions } from '../../hub/types.js'
import { decodeFloats, isFloatDType } from '../element-types.js'
import { readSafetensorsHeader, type TensorHeader } from '../safetensors.js'
import { readBranch, type ReadBranch } from './lora-forms.js'
import { parseLoraKey, type BranchTensor, type LoraComponent } from './lora-keys.js'
import { trainedScaling } from './lora-metadata.js'

/** One branch of a file: the change of one layer of one component. */
export interface LoraModule extends ReadBranch {
  readonly component: LoraComponent
  /** The layer as the file names it: see {@link LoraKey}. */
  readonly layer: string
  /** The tensor that messages name. */
  readonly first: TensorHeader
  /** The tensor with the branch's alpha, where the file has one. */
  readonly alpha: TensorHeader | undefined
}

/** What the header of a LoRA file says. */
export interface LoraFile {
  readonly modules: readonly LoraModule[]
  readonly metadata: ReadonlyMap<string, string>
  /** Whether the file has DoRA's magnitudes in LyCORIS' form, which are ignored as diffusers ignores them. */
  readonly ignoresDora: boolean
  /** Changes of biases and norms, which are ignored as diffusers ignores them. */
  readonly ignored: readonly string[]
}

interface Found {
  readonly component: LoraComponent
  readonly layer: string
  readonly tensors: Map<BranchTensor, TensorHeader>
  alpha?: TensorHeader
}

/**
 * Reads the header, and checks that the file is a LoRA.
 * @throws CheckpointError `safetensors-*`, `not-a-lora`, `shape-mismatch`, `dtype-mismatch`; UnsupportedError `lora-method`
 */
export async function readLoraFile(source: ByteSource, file: string, options: ReadOptions = {}): Promise<LoraFile> {
  const { tensors, metadata } = await readSafetensorsHeader(source, file, options)
  const { found, ignored, ignoresDora } = groupTensors(tensors, file)
  const modules = found.flatMap((own): LoraModule[] => {
    const { component, layer, alpha } = own
    const branch = readBranch(own.tensors, file, `${layer} of ${component}`)
    const first = own.tensors.get('lora_A') ?? [...own.tensors.values()][0]
    return first === undefined ? [] : [{ ...branch, component, layer, first, alpha }]
  })
  return { modules, metadata, ignoresDora, ignored }
}

/**
 * What each branch is multiplied by, alpha / rank: see diffusers' `get_peft_kwargs`. A branch of a UNet or text encoder without an alpha has the most common
 * one of its component, as in diffusers. In a file without alphas, peft's config decides.
 */
export async function readScalings(
  { modules, metadata }: LoraFile,
  source: ByteSource,
  options: ReadOptions = {},
): Promise<ReadonlyMap<LoraModule, number>> {
  const read = async ({ alpha }: LoraModule) => {
    if (alpha === undefined || !isFloatDType(alpha.dtype)) return undefined
    return decodeFloats(await source.read({ begin: alpha.begin, end: alpha.end }, options), alpha.dtype)[0]
  }
  const alphas = new Map(await Promise.all(modules.map(async (module) => [module, await read(module)] as const)))
  const isUNet = modules.some(({ layer }) =>
    /^(?:down_blocks|mid_block|up_blocks|input_blocks|middle_block|output_blocks)/.test(layer),
  )
  const usual = new Map(
    [...new Set(modules.map(({ component }) => component))].map((component) => [
      component,
      mostCommon(modules.flatMap((module) => (module.component === component ? (alphas.get(module) ?? []) : []))),
    ]),
  )
  return new Map(
    modules.map((module) => {
      const { component, layer, rank } = module
      // A Kronecker product of two whole matrices has no alpha.
      if (rank === undefined) return [module, 1]
      const alpha = alphas.get(module) ?? (component === 'denoiser' && !isUNet ? undefined : usual.get(component))
      return [module, alpha === undefined ? trainedScaling(metadata, component, layer, rank) : alpha / rank]
    }),
  )
}

function groupTensors(
  tensors: ReadonlyMap<string, TensorHeader>,
  file: string,
): { readonly found: readonly Found[]; readonly ignored: readonly string[]; readonly ignoresDora: boolean } {
  const found = new Map<string, Found>()
  const ignored: string[] = []
  let ignoresDora = false
  for (const [name, tensor] of tensors) {
    const key = parseLoraKey(name)
    if (key === undefined) throw notALora(file, name)
    const { component, layer, part } = key
    if (part === 'other')
      throw new UnsupportedError(
        'lora-method',
        `${file} has the tensor ${name}, which belongs to a method that is not supported. LoRA, LoCon, DoRA in peft's form, LoHa and LoKr are supported, without Tucker decomposition.`,
        { file, tensor: name },
      )
    if (part === 'dora-scale') ignoresDora = true
    else if (part === 'ignored') ignored.push(name)
    else {
      const id = `${component} ${layer}`
      const own: Found = found.get(id) ?? { component, layer, tensors: new Map() }
      found.set(id, own)
      if (part === 'alpha') own.alpha = tensor
      else own.tensors.set(part, tensor)
    }
  }
  if (found.size === 0) throw notALora(file, ignored[0] ?? '')
  return { found: [...found.values()], ignored, ignoresDora }
}

function notALora(file: string, name: string): CheckpointError {
  const what = name === '' ? 'has no tensors' : `has the tensor ${name}, which is no part of a LoRA`
  return new CheckpointError('not-a-lora', `${file} ${what}.`, { file, tensor: name })
}

/** The number that occurs most often, the first of several; undefined for none. diffusers gives it to layers without an alpha. */
function mostCommon(numbers: readonly number[]): number | undefined {
  const counts = new Map<number, number>()
  for (const number of numbers) counts.set(number, (counts.get(number) ?? 0) + 1)
  return [...counts].toSorted((a, b) => b[1] - a[1])[0]?.[0]
}
