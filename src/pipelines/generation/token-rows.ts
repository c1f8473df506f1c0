import type { TensorEntry, WeightTable } from '../../checkpoint/types.js'
import { CheckpointError } from '../../errors.js'
import type { TokenEmbedding } from '../../models/layers/token-embedding.js'
import { decodeFloats, isFloatDType } from '../../checkpoint/element-types.js'

/**
 * The embeddings of `ids`, flat [ids.length, width].
 * @throws CheckpointError `tensor-missing`, `shape-mismatch`, `dtype-mismatch`, `token-id`
 */
export async function readTokenRows(
  table: WeightTable,
  embedding: TokenEmbedding,
  ids: readonly number[],
  signal: AbortSignal | undefined,
): Promise<Float32Array<ArrayBuffer>> {
  const { width, rows } = embedding
  const entry = findEmbedding(table, embedding)
  if (!isFloatDType(entry.dtype))
    throw new CheckpointError('dtype-mismatch', `The token embedding ${entry.name} holds ${entry.dtype}; expected floats.`, {
      tensor: entry.name,
      actual: entry.dtype,
    })
  const { dtype, source, begin } = entry
  const rowBytes = (entry.end - begin) / rows
  const read = new Map(
    await Promise.all(
      [...new Set(ids)].map(async (id) => {
        if (!Number.isInteger(id) || id < 0 || id >= rows)
          throw new CheckpointError('token-id', `The tokenizer gave the id ${id}, but the text encoder knows ${rows} tokens.`, {
            id,
            allowed: rows,
          })
        const at = begin + id * rowBytes
        return [id, decodeFloats(await source.read({ begin: at, end: at + rowBytes }, { signal }), dtype)] as const
      }),
    ),
  )
  const result = new Float32Array(ids.length * width)
  for (const [i, id] of ids.entries()) result.set(read.get(id) ?? [], i * width)
  return result
}

function findEmbedding(table: WeightTable, { tensors, rows, width }: TokenEmbedding): TensorEntry {
  const entry = tensors.map((name) => table.get(name)).find((found) => found !== undefined)
  if (entry === undefined)
    throw new CheckpointError('tensor-missing', `The text encoder has no token embedding ${tensors.join(' or ')}.`, {
      tensor: tensors[0] ?? '',
    })
  if (entry.shape.length !== 2 || entry.shape[0] !== rows || entry.shape[1] !== width)
    throw new CheckpointError(
      'shape-mismatch',
      `The token embedding ${entry.name} has shape [${entry.shape.join(', ')}]; its config requires [${rows}, ${width}].`,
      { tensor: entry.name, actual: entry.shape, expected: [rows, width] },
    )
  return entry
}
