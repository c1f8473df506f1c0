/**
 * Finds out what a dropped file of weights is, from the file's name and header: a LoRA, an embedding, a checkpoint, or a pickle file.
 * Faults of the file are not checked here; loading the file reports them.
 */

import { areEmbeddingNames, embeddingWord, mostEmbeddingVectors } from '../../util/embedding-names.js'

/** The kind of a file. `word`: the word for the embedding in prompts. */
export type DroppedWeights =
  | { readonly kind: 'lora' }
  | { readonly kind: 'embedding'; readonly word: string }
  | { readonly kind: 'checkpoint' }
  | { readonly kind: 'pickle' }

/** Whether a file has weights, by its name. */
export function isWeightsName(name: string): boolean {
  return /\.(?:safetensors|gguf|ckpt|pt|pth|bin)$/i.test(name)
}

/** The longest headers of a LoRA's file and of an embedding's, in bytes. */
const [longestHeader, longestEmbedding] = [12_500_000, 10_000]

/** Reads the header of a file. */
export async function readDroppedWeights(file: File): Promise<DroppedWeights> {
  if (!/\.(?:safetensors|gguf)$/i.test(file.name)) return { kind: 'pickle' }
  const head = new DataView(await file.slice(0, 8).arrayBuffer())
  const length = head.byteLength === 8 ? Number(head.getBigUint64(0, true)) : 0
  if (length < 2 || length > longestHeader) return { kind: 'checkpoint' }
  const header = await file.slice(8, 8 + length).text()
  if (
    /"[^"]*(?:lora_(?:[AB]|down|up|linear_layer|unet|te\d?)\b|[._]lora\d?\.(?:down|up)|lora_(?:unet|te\d?)_|hada_w1|lokr_w1)[^"]*"\s*:/.test(
      header,
    )
  )
    return { kind: 'lora' }
  const word = length > longestEmbedding ? undefined : wordOf(header, file.name)
  return word === undefined ? { kind: 'checkpoint' } : { kind: 'embedding', word }
}

/** The word of an embedding, as `loadTextualInversion` names it; undefined for other files. */
function wordOf(header: string, file: string): string | undefined {
  let parsed: unknown
  try {
    parsed = JSON.parse(header)
  } catch {
    return undefined
  }
  if (typeof parsed !== 'object' || parsed === null) return undefined
  const tensors = Object.entries(parsed).filter(([name]) => name !== '__metadata__')
  const names = tensors.map(([name]) => name)
  const [first] = names
  if (first === undefined) return undefined
  const isOneWord = names.length === 1 && isRows((tensors[0]?.[1] as { readonly shape?: unknown } | undefined)?.shape)
  return isOneWord || areEmbeddingNames(names) ? embeddingWord(first, file) : undefined
}

/** Whether a tensor of this shape is one vector, or a list of at most {@link mostEmbeddingVectors} vectors. */
function isRows(shape: unknown): boolean {
  return Array.isArray(shape) && (shape.length === 1 || (shape.length === 2 && Number(shape[0]) <= mostEmbeddingVectors))
}
