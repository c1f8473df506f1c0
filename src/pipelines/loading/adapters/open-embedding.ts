/** Opens a textual inversion: the learned rows of the token embedding, for one text encoder or, with Stable Diffusion XL, for both. */

import { decodeFloats, isFloatDType } from '../../../checkpoint/element-types.js'
import { readSafetensorsHeader, type TensorHeader } from '../../../checkpoint/safetensors.js'
import { CheckpointError } from '../../../errors.js'
import type { FileProgress } from '../../../hub/types.js'
import { embeddingEncoders, embeddingWord, mostEmbeddingVectors } from '../../../util/embedding-names.js'
import type { LoadEmbeddingOptions } from '../../adapter-types.js'
import { openAdapterFile, type AdapterFileRequest, type AdapterSource } from './open-adapter-file.js'

/** A learned word, with its rows for each text encoder. */
export interface OpenedEmbedding {
  readonly token: string
  /** The rows, by the name of the text encoder component. */
  readonly vectors: ReadonlyMap<string, readonly Float32Array<ArrayBuffer>[]>
}

/**
 * Opens an embedding and reads its vectors.
 * @throws as {@link openAdapterFile}; CheckpointError `not-an-embedding`, `shape-mismatch`, `dtype-mismatch`
 */
export async function openEmbedding(
  source: AdapterSource,
  request: AdapterFileRequest<LoadEmbeddingOptions>,
): Promise<OpenedEmbedding> {
  const { run, options } = request
  const { signal } = run
  const { repository, path, close } = await openAdapterFile(source, request, 'learned_embeds.safetensors')
  try {
    const file = path.split('/').at(-1) ?? path
    const onProgress = (progress: FileProgress) => run.report({ type: 'file', component: 'embedding', file: progress })
    const bytes = await repository.open(path, { signal, onProgress })
    const { tensors } = await readSafetensorsHeader(bytes, file, { signal })
    const found = [...tensors.values()]
    const own = found.every(({ name }) => Object.hasOwn(embeddingEncoders, name))
    const [first] = found
    if (first === undefined || (!own && found.length !== 1))
      throw new CheckpointError(
        'not-an-embedding',
        `${file} has ${found.length} tensors; an embedding has one, named by its word, or clip_l and clip_g.`,
        { file, tensors: found.length },
      )
    const vectors = new Map<string, readonly Float32Array<ArrayBuffer>[]>()
    for (const tensor of found) {
      const { begin, end } = tensor
      const rows = checkedRows(tensor, file)
      if (!isFloatDType(tensor.dtype)) throw dtypeError(tensor, file)
      const values = decodeFloats(await bytes.read({ begin, end }, { signal }), tensor.dtype)
      const width = values.length / rows
      vectors.set(
        embeddingEncoders[tensor.name] ?? 'text_encoder',
        Array.from({ length: rows }, (_, row) => values.slice(row * width, (row + 1) * width)),
      )
    }
    return { token: options.token ?? embeddingWord(first.name, file), vectors }
  } finally {
    close()
  }
}

function checkedRows({ name, shape }: TensorHeader, file: string): number {
  const rows = shape.length === 1 ? 1 : (shape[0] ?? 0)
  if ((shape.length === 1 || shape.length === 2) && rows > 0 && rows <= mostEmbeddingVectors) return rows
  const message = `The tensor ${name} of ${file} has the shape [${shape.join(', ')}]; an embedding has [width], or up to ${mostEmbeddingVectors} rows of it.`
  throw new CheckpointError('not-an-embedding', message, { file, tensor: name, actual: shape })
}

function dtypeError({ name, dtype, dtypeName }: TensorHeader, file: string): CheckpointError {
  const actual = dtypeName ?? dtype
  return new CheckpointError(
    'dtype-mismatch',
    `The tensor ${name} in ${file} holds ${actual}; an embedding is floating-point numbers.`,
    {
      tensor: name,
      actual,
    },
  )
}
