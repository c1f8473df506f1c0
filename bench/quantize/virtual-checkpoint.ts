/** Checkpoints of any size that need no disk: safetensors shards with a real header, whose numbers are generated when they are requested. */

import type { VirtualFile } from '../../e2e/hub-server/repositories.js'
import { float32ToFloat16 } from '../../src/util/half.js'
import { publishedModel } from '../memory/weight-tables.js'

type Shapes = readonly (readonly [name: string, shape: readonly number[]])[]

/** The tensors of the first blocks of T5-xxl; each block has 386 MB in float16. */
export function blocksOfT5(blocks: number): Shapes {
  return Object.entries(publishedModel('t5-xxl-encoder').tensors).filter(([name]) => {
    const block = /^encoder\.block\.(\d+)\./.exec(name)?.[1]
    return block !== undefined && Number(block) < blocks
  })
}

const bytesOf = (shape: readonly number[]) => shape.reduce((product, dim) => product * dim, 2)

const digits = (n: number) => String(n).padStart(5, '0')

/**
 * A component's files by name: float16 tensors of these shapes in shards of at most `shardBytes`, and the index if there are several shards.
 * `base` is the beginning of the files' names.
 */
export function virtualCheckpoint(
  tensors: Shapes,
  shardBytes: number,
  base: 'model' | 'diffusion_pytorch_model' = 'model',
): Record<string, VirtualFile | string> {
  const shards: (readonly [string, readonly number[]])[][] = [[]]
  let size = 0
  for (const tensor of tensors) {
    const bytes = bytesOf(tensor[1])
    if (size > 0 && size + bytes > shardBytes) {
      shards.push([])
      size = 0
    }
    shards.at(-1)?.push(tensor)
    size += bytes
  }
  if (shards.length === 1) return { [`${base}.safetensors`]: virtualShard(tensors) }
  const named = shards.map((shard, i) => [`${base}-${digits(i + 1)}-of-${digits(shards.length)}.safetensors`, shard] as const)
  const weightMap = Object.fromEntries(named.flatMap(([name, shard]) => shard.map(([tensor]) => [tensor, name])))
  const index = { metadata: { total_size: tensors.reduce((sum, [, shape]) => sum + bytesOf(shape), 0) }, weight_map: weightMap }
  return {
    [`${base}.safetensors.index.json`]: JSON.stringify(index),
    ...Object.fromEntries(named.map(([name, shard]) => [name, virtualShard(shard)])),
  }
}

function virtualShard(tensors: Shapes): VirtualFile {
  let at = 0
  const header: Record<string, unknown> = {}
  for (const [name, shape] of tensors) {
    header[name] = { dtype: 'F16', shape, data_offsets: [at, at + bytesOf(shape)] }
    at += bytesOf(shape)
  }
  const json = Buffer.from(JSON.stringify(header))
  const head = Buffer.alloc(8 + json.byteLength)
  head.writeBigUInt64LE(BigInt(json.byteLength))
  json.copy(head, 8)
  return {
    size: head.byteLength + at,
    read: (begin, end) => {
      const bytes = Buffer.alloc(end - begin)
      if (begin < head.byteLength) head.copy(bytes, 0, begin)
      for (let to = Math.max(begin, head.byteLength); to < end;) {
        const from = (to - head.byteLength) % pool.byteLength
        const count = Math.min(pool.byteLength - from, end - to)
        pool.copy(bytes, to - begin, from, from + count)
        to += count
      }
      return bytes
    },
  }
}

/** Two million normal numbers with standard deviation 0.02, which are repeated. Their count is prime, so that no two rows are equal. */
export const normalHalves = randomHalves(2_000_003)

const pool = Buffer.from(normalHalves.buffer, 0, normalHalves.byteLength)

function randomHalves(count: number): Uint16Array<ArrayBuffer> {
  const values = new Float32Array(count + 1)
  let state = 1
  const uniform = () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return (state + 0.5) / 2 ** 32
  }
  for (let i = 0; i < count; i += 2) {
    const radius = 0.02 * Math.sqrt(-2 * Math.log(uniform()))
    const angle = 2 * Math.PI * uniform()
    values[i] = radius * Math.cos(angle)
    values[i + 1] = radius * Math.sin(angle)
  }
  return float32ToFloat16(values).subarray(0, count)
}
