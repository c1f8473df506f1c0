/**
 * How a component's tensors are distributed over files: the tensors of each shard, the shards' names, their safetensors headers and the
 * index. Pure; the rules are those of huggingface_hub, safetensors and the `save_pretrained` of diffusers and transformers.
 * Source: huggingface_hub `split_state_dict_into_shards_factory`, safetensors `prepare`.
 */

import type { WeightLibrary } from '../../src/checkpoint/types.js'
import type { SafetensorsDType, TensorEntry } from '../../src/checkpoint/types.js'

/** A file to be written. */
export interface ShardFile {
  readonly name: string
  /** Eight bytes with the header's length, and the JSON header. */
  readonly header: Uint8Array<ArrayBuffer>
  readonly byteLength: number
  /** Each tensor with the offset of its first byte in the file. The tensors are in the order of `state_dict()`, the bytes are not. */
  readonly tensors: readonly { readonly entry: TensorEntry; readonly begin: number }[]
}

/** The files of one component. */
export interface ShardPlan {
  readonly files: readonly ShardFile[]
  /** Null if there is only one file. */
  readonly index: { readonly name: string; readonly text: string } | null
}

/** How tensors are distributed. */
export interface ShardPlanOptions {
  readonly library: WeightLibrary
  readonly variant: string | null
  readonly maxShardSize: number
  /** Parameters of the model, for the index that transformers writes. */
  readonly parameters: number
}

const stems = { diffusers: 'diffusion_pytorch_model', transformers: 'model' } as const

const digits = (n: number) => String(n).padStart(5, '0')

/** Splits tensors, in the order of `state_dict()`, into files of at most `maxShardSize` bytes of tensors (a larger tensor gets its own). */
export function planShards(entries: readonly TensorEntry[], options: ShardPlanOptions): ShardPlan {
  const groups = splitGreedily(entries, options.maxShardSize)
  const stem = stems[options.library]
  const infix = options.variant === null ? '' : `.${options.variant}`
  const many = groups.length > 1
  const suffix = (i: number) => (many ? `-${digits(i + 1)}-of-${digits(groups.length)}` : '')
  const files = groups.map((group, i) => layOut(`${stem}${infix}${suffix(i)}.safetensors`, group))
  if (!many) return { files, index: null }
  return { files, index: { name: `${stem}.safetensors.index${infix}.json`, text: indexText(files, options) } }
}

function splitGreedily(entries: readonly TensorEntry[], maxShardSize: number): TensorEntry[][] {
  const groups: TensorEntry[][] = []
  let current: TensorEntry[] = []
  let size = 0
  for (const entry of entries) {
    const bytes = entry.end - entry.begin
    if (bytes > maxShardSize) {
      groups.push([entry])
      continue
    }
    if (size + bytes > maxShardSize) {
      groups.push(current)
      current = []
      size = 0
    }
    current.push(entry)
    size += bytes
  }
  if (current.length > 0) groups.push(current)
  return groups
}

/** safetensors sorts tensors by type, in the reverse of this order, then by name. */
const dtypeOrder: readonly SafetensorsDType[] = [
  'BOOL',
  'U8',
  'I8',
  'F8_E5M2',
  'F8_E4M3',
  'I16',
  'U16',
  'F16',
  'BF16',
  'I32',
  'U32',
  'F32',
  'F64',
  'I64',
  'U64',
]

function layOut(name: string, group: readonly TensorEntry[]): ShardFile {
  const sorted = group.toSorted(
    (a, b) => dtypeOrder.indexOf(b.dtype) - dtypeOrder.indexOf(a.dtype) || compareCodePoints(a.name, b.name),
  )
  let at = 0
  const offsets = new Map<string, number>()
  const parts = ['"__metadata__":{"format":"pt"}']
  for (const { name, dtype, shape, begin, end } of sorted) {
    offsets.set(name, at)
    const bytes = end - begin
    parts.push(`${JSON.stringify(name)}:{"dtype":"${dtype}","shape":[${shape.join(',')}],"data_offsets":[${at},${at + bytes}]}`)
    at += bytes
  }
  const json = new TextEncoder().encode(`{${parts.join(',')}}`)
  const length = Math.ceil(json.byteLength / 8) * 8
  const header = new Uint8Array(8 + length).fill(0x20)
  new DataView(header.buffer).setBigUint64(0, BigInt(length), true)
  header.set(json, 8)
  const tensors = group.map((entry) => ({ entry, begin: header.byteLength + (offsets.get(entry.name) ?? 0) }))
  return { name, header, byteLength: header.byteLength + at, tensors }
}

function indexText(files: readonly ShardFile[], options: ShardPlanOptions): string {
  const entries = files.flatMap((file) => file.tensors.map(({ entry }) => ({ entry, file: file.name })))
  const bytes = entries.reduce((total, { entry }) => total + entry.end - entry.begin, 0)
  const metadata = [`    "total_size": ${bytes}`]
  if (options.library === 'transformers') metadata.unshift(`    "total_parameters": ${options.parameters}`)
  const map = entries
    .toSorted((a, b) => compareCodePoints(a.entry.name, b.entry.name))
    .map(({ entry, file }) => `    ${pythonString(entry.name)}: ${pythonString(file)}`)
  return `{\n  "metadata": {\n${metadata.join(',\n')}\n  },\n  "weight_map": {\n${map.join(',\n')}\n  }\n}\n`
}

/** A string as `json.dumps` writes it: everything beyond ASCII escaped. */
function pythonString(text: string): string {
  return JSON.stringify(text).replace(/[\u007f-\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

/** Compares strings as Python and Rust do: by code points, which have the same order as the UTF-8 bytes. JavaScript compares UTF-16 units. */
function compareCodePoints(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b))
}
