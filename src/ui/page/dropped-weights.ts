/** Finds out from its header what a dropped safetensors file is: a LoRA, an embedding or a checkpoint. The load reports every other fault of the file. */

/** What a file is. `word`: what prompts call the embedding. */
export type DroppedWeights =
  | { readonly kind: 'lora' }
  | { readonly kind: 'embedding'; readonly word: string }
  | { readonly kind: 'checkpoint' }

/** The longest headers of a LoRA's file and of an embedding's, in bytes. */
const [longestHeader, longestEmbedding] = [12_500_000, 10_000]

/** The tensors of an embedding whose names are no words: of AUTOMATIC1111's files, and those for the text encoders of Stable Diffusion XL. */
const notWords: ReadonlySet<string> = new Set(['emb_params', 'clip_l', 'clip_g', 'text_encoders_0', 'text_encoders_1'])

/** Reads the header of a file. */
export async function readDroppedWeights(file: File): Promise<DroppedWeights> {
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
  const word = length > longestEmbedding ? undefined : embeddingWord(header, file.name.replace(/\.safetensors$/i, ''))
  return word === undefined ? { kind: 'checkpoint' } : { kind: 'embedding', word }
}

/** The word of an embedding, as `loadTextualInversion` names it; undefined for other files. */
function embeddingWord(header: string, stem: string): string | undefined {
  let parsed: unknown
  try {
    parsed = JSON.parse(header)
  } catch {
    return undefined
  }
  if (typeof parsed !== 'object' || parsed === null) return undefined
  const tensors = Object.entries(parsed).filter(([name]) => name !== '__metadata__')
  const [first, ...more] = tensors.map(([name]) => name)
  if (first === undefined) return undefined
  if (tensors.every(([name]) => notWords.has(name))) return stem
  return more.length === 0 && isRows((tensors[0]?.[1] as { readonly shape?: unknown } | undefined)?.shape) ? first : undefined
}

/** Whether a shape is that of one vector or of a few. */
function isRows(shape: unknown): boolean {
  return Array.isArray(shape) && (shape.length === 1 || (shape.length === 2 && Number(shape[0]) <= 75))
}
