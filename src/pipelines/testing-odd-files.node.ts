/** For tests, in Node: the checkpoints of fixtures/odd-files, whose files are not as `save_pretrained` writes them, and what diffusers made of each. */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { float32ToFloat16 } from '../util/half.js'
import { diskRepository, fixtures } from './testing.node.js'

type Json = Readonly<Record<string, unknown>>
type ByPath<T> = Readonly<Record<string, T>>

interface TensorEdits {
  readonly drop?: readonly string[]
  readonly rename?: Readonly<Record<string, string>>
  readonly cast?: Readonly<Record<string, 'F16' | 'F64'>>
  readonly reshape?: Readonly<Record<string, readonly number[]>>
  readonly add?: Readonly<Record<string, readonly [dtype: string, shape: readonly number[], base64: string]>>
  readonly metadata?: unknown
  readonly pad?: number
}

/** A fixture with other files, and what diffusers computes with it: fixtures/generator/files/odd_files.py makes the same changes. */
export interface OddFilesCase {
  readonly kind: number
  readonly name: string
  readonly fixture: string
  readonly options?: { readonly variant?: string }
  readonly copy?: ByPath<string>
  readonly remove?: readonly string[]
  readonly json?: ByPath<{ readonly set?: Json; readonly unset?: readonly string[] }>
  readonly replace?: ByPath<readonly (readonly [from: string, to: string])[]>
  readonly tensors?: ByPath<TensorEdits>
  readonly text?: ByPath<string>
  readonly bytes?: ByPath<string>
  readonly before?: ByPath<string>
  /** What diffusers does: makes the image of the unchanged fixture, makes another image, or fails. */
  readonly judged: 'same' | 'other' | 'error'
  /** The first latents and the first pixel values of the image, if `judged` is `other`. */
  readonly values?: readonly number[]
}

/** All cases. */
export function readOddFilesCases(): readonly OddFilesCase[] {
  return JSON.parse(readFileSync(join(fixtures, 'odd-files', 'cases.json'), 'utf8')) as OddFilesCase[]
}

const bytes = (text: string) => new TextEncoder().encode(text)

/** The fixture of a case with its changes, as a repository. */
export function oddRepository(item: OddFilesCase): ReturnType<typeof diskRepository> {
  const folder = join(fixtures, item.fixture, 'repo')
  const files: Record<string, Uint8Array | null> = {}
  const read = (path: string): Uint8Array => files[path] ?? readFileSync(join(folder, path))
  const edit = <T>(edits: ByPath<T> | undefined, change: (path: string, edit: T) => Uint8Array) => {
    for (const [path, value] of Object.entries(edits ?? {})) files[path] = change(path, value)
  }
  const text = (path: string) => new TextDecoder('utf-8', { ignoreBOM: true }).decode(read(path))
  edit(item.copy, (_, source) => read(source))
  for (const path of item.remove ?? []) files[path] = null
  edit(item.json, (path, { set = {}, unset = [] }) => {
    const kept = Object.entries(JSON.parse(text(path)) as Json).filter(([key]) => !unset.includes(key))
    return bytes(JSON.stringify({ ...Object.fromEntries(kept), ...set }))
  })
  edit(item.replace, (path, pairs) => bytes(pairs.reduce((all, [from, to]) => all.replaceAll(from, () => to), text(path))))
  edit(item.tensors, (path, edits) => editTensors(read(path), edits))
  edit(item.text, (_, value) => bytes(value))
  edit(item.bytes, (_, value) => Buffer.from(value, 'base64'))
  edit(item.before, (path, value) => Buffer.concat([bytes(value), read(path)]))
  return diskRepository(folder, files)
}

interface Tensor {
  readonly name: string
  readonly dtype: string
  readonly shape: readonly number[]
  readonly data: Uint8Array
}

function editTensors(file: Uint8Array, edits: TensorEdits): Uint8Array {
  const begin = 8 + Number(new DataView(file.buffer, file.byteOffset).getBigUint64(0, true))
  const header = JSON.parse(new TextDecoder().decode(file.subarray(8, begin))) as Record<
    string,
    { dtype: string; shape: number[]; data_offsets: [number, number] }
  >
  const tensors = Object.entries(header)
    .filter(([name]) => name !== '__metadata__' && edits.drop?.includes(name) !== true)
    .map(
      ([
        name,
        {
          dtype,
          shape,
          data_offsets: [from, to],
        },
      ]): Tensor => {
        const data = Uint8Array.from(file.subarray(begin + from, begin + to))
        const type = dtype === 'F32' ? (edits.cast?.[name] ?? edits.cast?.['']) : undefined
        return {
          name: edits.rename?.[name] ?? name,
          dtype: type ?? dtype,
          shape: edits.reshape?.[name] ?? shape,
          data: type === undefined ? data : cast(data, type),
        }
      },
    )
  for (const [name, [dtype, shape, base64]] of Object.entries(edits.add ?? {}))
    tensors.push({ name, dtype, shape, data: Buffer.from(base64, 'base64') })
  const entries: [string, unknown][] = edits.metadata === undefined ? [] : [['__metadata__', edits.metadata]]
  let at = 0
  for (const { name, dtype, shape, data } of tensors) {
    entries.push([name, { dtype, shape, data_offsets: [at, at + data.length] }])
    at += data.length
  }
  const text = Buffer.from(JSON.stringify(Object.fromEntries(entries)) + ' '.repeat(edits.pad ?? 0))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(text.length))
  return Buffer.concat([length, text, ...tensors.map(({ data }) => data)])
}

function cast(data: Uint8Array, type: 'F16' | 'F64'): Uint8Array {
  const values = new Float32Array(data.buffer, data.byteOffset, data.byteLength / 4)
  return new Uint8Array((type === 'F64' ? Float64Array.from(values) : float32ToFloat16(values)).buffer)
}
