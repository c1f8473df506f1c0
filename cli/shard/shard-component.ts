/** Plans the files of one component: its tensors under their current names, in another type, in the order and the files of `save_pretrained`. */

import { transformTable } from '../../src/checkpoint/transforms/transform-table.js'
import type { TensorEntry } from '../../src/checkpoint/types.js'
import { measureWeights } from '../../src/checkpoint/weight-table.js'
import type { AquatintError } from '../../src/errors.js'
import type { ReadOptions } from '../../src/hub/types.js'
import { families } from '../../src/pipelines/families.js'
import { faultOf, type ComponentContents } from '../read-contents.js'
import { countRenamed, dropFormer, renameFormer } from './former-tensors.js'
import { transformsOf, dtypeOf, type DTypeChoice, type DTypeWord } from './shard-dtypes.js'
import { planShards, type ShardPlan } from './shard-plan.js'
import { knowsOrder, stateDictOrder } from './state-dict-order.js'
import type { Overflows } from './work-folder.js'
import { isFloatDType } from '../../src/checkpoint/element-types.js'

export interface ConversionOptions {
  readonly maxShardSize: number
  readonly dtypes: DTypeChoice
  /** The variant in the names of written files. */
  readonly saveVariant: string | null
}

/** The command's report about a component. */
export interface ShardedComponent {
  readonly name: string
  readonly className: string
  readonly dtype: DTypeWord | null
  readonly parameters: number
  /** Bytes of the weights before and after. */
  readonly sourceBytes: number
  readonly bytes: number
  /** Whether shards are filled in the order of `save_pretrained`. False if the order of the class is not known: then the shards follow the source. */
  readonly stateDictOrder: boolean
  /** The number of tensors that diffusers has renamed since the checkpoint was saved. They are written under their current names. */
  readonly renamed: number
  /** The buffers that were dropped, because current releases of transformers do not save them. */
  readonly dropped: readonly string[]
  readonly files: readonly { readonly path: string; readonly bytes: number }[]
}

/** A component that is ready to be written. */
export interface ComponentShards extends ShardPlan {
  readonly name: string
  readonly summary: ShardedComponent
  /** The files that are read: the index and its shards, or a single file. */
  readonly sources: readonly string[]
  /** How many finite values of each given tensor became infinite in the new type. The counts are complete when the tensors have been read. */
  readonly overflows: (tensors: readonly string[]) => Overflows
}

/** A component that is copied unchanged, and why. */
export interface OddComponent {
  readonly name: string
  readonly fault: AquatintError
}

/** Plans the files of a component; null if it has no weights. @throws CheckpointError, UnsupportedError if something is wrong with the component */
export async function planComponent(
  component: ComponentContents,
  options: ConversionOptions,
  reading: ReadOptions,
): Promise<ComponentShards | null> {
  const { weights, weightLibrary, className, name, faults } = component
  if (faults[0] !== undefined) throw faults[0]
  if (weights === null) return null
  const read = await weights.read(reading)
  const kept = dropFormer(read)
  const table = renameFormer(className, kept)
  // Buffers of integers (position ids) are no parameters.
  const { parameters } = measureWeights(new Map([...table].filter(([, entry]) => isFloatDType(entry.dtype))))
  const dtype = dtypeOf(options.dtypes, component)
  const counts = new Map<string, number>()
  const onOverflow = (tensor: string, count: number) => counts.set(tensor, count + (counts.get(tensor) ?? 0))
  const converted = dtype === null ? table : transformTable(table, transformsOf(dtype, className, onOverflow))
  const entries = stateDictOrder(className, [...converted.keys()]).map((tensor) => converted.get(tensor) as TensorEntry)
  const plan = planShards(entries, {
    library: weightLibrary,
    variant: options.saveVariant,
    maxShardSize: options.maxShardSize,
    parameters,
  })
  const summary: ShardedComponent = {
    name,
    className,
    dtype,
    parameters,
    sourceBytes: measureWeights(table).bytes,
    bytes: measureWeights(converted).bytes,
    stateDictOrder: knowsOrder(className),
    renamed: countRenamed(kept, table),
    dropped: [...read.keys()].filter((tensor) => !kept.has(tensor)),
    files: plan.files.map((file) => ({ path: pathIn(name, file.name), bytes: file.byteLength })),
  }
  return {
    ...plan,
    name,
    summary,
    sources: [...(weights.index === null ? [] : [weights.index]), ...(await weights.files(reading))],
    overflows: (tensors) =>
      Object.fromEntries(tensors.flatMap((tensor) => (counts.has(tensor) ? [[tensor, counts.get(tensor) ?? 0]] : []))),
  }
}

/**
 * Decides about a component that cannot be rewritten. It is copied unchanged, for diffusers, if its pipeline in Aquatint ignores it (for an
 * unknown pipeline: if any pipeline does) and `--dtype` does not name it. @throws the component's error otherwise
 */
export function oddComponent(
  pipeline: string | null,
  { name }: ComponentContents,
  { dtypes }: ConversionOptions,
  error: unknown,
): OddComponent {
  const fault = faultOf(error)
  const own = families.filter((spec) => spec.className === pipeline)
  const ignored = (own.length > 0 ? own : families).some((spec) => Object.hasOwn(spec.ignored, name))
  if (!ignored || dtypes.has(name)) throw fault
  return { name, fault }
}

/** The path in the repository of a component's file. */
export function pathIn(component: string, file: string): string {
  return component === '' ? file : `${component}/${file}`
}
