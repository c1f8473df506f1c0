/**
 * Reads a LoRA file: the header, the alphas and the metadata. The factors themselves stay in the file; whoever loads a network reads them.
 */

import { CheckpointError, UnsupportedError } from '../../errors.js'
import type { ByteSource, ReadOptions } from '../../hub/types.js'
import { decodeFloats, isFloatDType } from '../element-types.js'
import { readSafetensorsHeader, type TensorHeader } from '../safetensors.js'
import { parseLoraKey, type LoraComponent, type LoraPart } from './lora-keys.js'
import { trainedScaling } from './lora-metadata.js'

/** One branch of a file: the factors for one layer of one component. */
export interface LoraModule {
  readonly component: LoraComponent
  /** The layer as the file names it: see {@link LoraKey}. */
  readonly layer: string
  readonly a: TensorHeader
  readonly b: TensorHeader
  readonly rank: number
  /** The tensor with the branch's alpha, where the file has one. */
  readonly alpha: TensorHeader | undefined
}

/** What the header of a LoRA file says. */
export interface LoraFile {
  readonly modules: readonly LoraModule[]
  readonly metadata: ReadonlyMap<string, string>
  /** Whether the file has DoRA's magnitudes, which are ignored as diffusers ignores them. */
  readonly ignoresDora: boolean
}

type Found = Partial<Record<LoraPart, TensorHeader>> & { readonly component: LoraComponent; readonly layer: string }

/**
 * Reads the header, and checks that the file is a LoRA.
 * @throws CheckpointError `safetensors-*`, `not-a-lora`, `shape-mismatch`, `dtype-mismatch`; UnsupportedError `lora-method`
 */
export async function readLoraFile(source: ByteSource, file: string, options: ReadOptions = {}): Promise<LoraFile> {
  const { tensors, metadata } = await readSafetensorsHeader(source, file, options)
  const found = groupTensors(tensors, file)
  return {
    modules: found.map((own) => ({ component: own.component, layer: own.layer, alpha: own.alpha, ...bothFactors(own, file) })),
    metadata,
    ignoresDora: found.some((own) => own['dora-scale'] !== undefined),
  }
}

/**
 * What each branch is multiplied by, alpha / rank: see diffusers' `get_peft_kwargs`. A branch without an alpha has the most common one of its
 * component. In a file without alphas, peft's config decides.
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
  const usual = new Map(
    [...new Set(modules.map(({ component }) => component))].map((component) => [
      component,
      mostCommon(modules.flatMap((module) => (module.component === component ? (alphas.get(module) ?? []) : []))),
    ]),
  )
  return new Map(
    modules.map((module) => {
      const { component, layer, rank } = module
      const alpha = alphas.get(module) ?? usual.get(component)
      return [module, alpha === undefined ? trainedScaling(metadata, component, layer, rank) : alpha / rank]
    }),
  )
}

function groupTensors(tensors: ReadonlyMap<string, TensorHeader>, file: string): readonly Found[] {
  const found = new Map<string, Found>()
  for (const [name, tensor] of tensors) {
    const key = parseLoraKey(name)
    if (key === undefined) throw notALora(file, name)
    if (key.part === 'other')
      throw new UnsupportedError(
        'lora-method',
        `${file} has the tensor ${name}, which belongs to a method that is not supported. LoRA and LoCon are supported; DoRA in peft's form, LoHa, LoKr and the like are not.`,
        { file, tensor: name },
      )
    const { component, layer, part } = key
    const id = `${component} ${layer}`
    found.set(id, { ...(found.get(id) ?? { component, layer }), [part]: tensor })
  }
  if (found.size === 0) throw notALora(file, '')
  return [...found.values()]
}

/** @throws CheckpointError `not-a-lora` where a factor is missing or the two do not fit each other */
function bothFactors({ a, b, component, layer }: Found, file: string): Pick<LoraModule, 'a' | 'b' | 'rank'> {
  if (a === undefined || b === undefined) {
    const message = `${file} has only a part of the branch for ${layer} of ${component}: LoRA has two factors for each layer.`
    throw new CheckpointError('not-a-lora', message, { file, layer })
  }
  for (const { name, dtype, dtypeName } of [a, b])
    if (!isFloatDType(dtype)) {
      const message = `The tensor ${name} in ${file} holds ${dtypeName ?? dtype}; a LoRA's factors are floating-point numbers.`
      throw new CheckpointError('dtype-mismatch', message, { tensor: name, actual: dtypeName ?? dtype })
    }
  const rank = a.shape[0] ?? 0
  if (rank < 1 || b.shape[1] !== rank || b.shape.slice(2).some((dim) => dim !== 1)) {
    const message = `The factors ${a.name} [${a.shape.join(', ')}] and ${b.name} [${b.shape.join(', ')}] in ${file} do not have one rank.`
    throw new CheckpointError('shape-mismatch', message, { tensor: b.name, expected: [b.shape[0] ?? 0, rank], actual: b.shape })
  }
  return { a, b, rank }
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
