/** Reads a small safetensors file of float32 and int64 tensors in Node: reference values only, so it trusts its input. */
import { readFileSync } from 'node:fs'
import type { Tensor } from './compare.js'

interface Entry {
  readonly dtype: string
  readonly shape: readonly number[]
  readonly data_offsets: readonly [number, number]
}

/** Tensor name → values, widened or narrowed to float32. */
export function readReference(path: string): Map<string, Tensor> {
  const file = readFileSync(path)
  const headerLength = Number(file.readBigUInt64LE(0))
  const header = JSON.parse(file.toString('utf8', 8, 8 + headerLength)) as Record<string, Entry>
  const tensors = new Map<string, Tensor>()
  for (const [name, entry] of Object.entries(header)) {
    if (name === '__metadata__') continue
    const [begin, end] = entry.data_offsets
    const bytes = file.buffer.slice(file.byteOffset + 8 + headerLength + begin, file.byteOffset + 8 + headerLength + end)
    tensors.set(name, { dims: entry.shape, data: toFloat32(entry.dtype, bytes, name) })
  }
  return tensors
}

function toFloat32(dtype: string, bytes: ArrayBuffer, name: string): Float32Array {
  if (dtype === 'F32') return new Float32Array(bytes)
  if (dtype === 'F64') return Float32Array.from(new Float64Array(bytes))
  if (dtype === 'I64') return Float32Array.from(new BigInt64Array(bytes), Number)
  throw new Error(`Reference tensor '${name}' is ${dtype}; F32, F64 and I64 are read`)
}
