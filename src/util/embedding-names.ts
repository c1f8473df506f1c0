/** How the file of a textual inversion is read by its names, for the loader and for the page, which sees only the header. Pure. */

/** The text encoders that names of tensors say, in files for Stable Diffusion XL. All other names are words, for the first encoder. */
export const embeddingEncoders: Readonly<Record<string, string>> = {
  clip_l: 'text_encoder',
  clip_g: 'text_encoder_2',
  text_encoders_0: 'text_encoder',
  text_encoders_1: 'text_encoder_2',
}

/** The most vectors of a word: more than a prompt has tokens cannot be used. */
export const mostEmbeddingVectors = 75

/** Whether a tensor's name is no word: AUTOMATIC1111's `emb_params`, and the names of text encoders. */
function isNoWord(tensor: string): boolean {
  return tensor === 'emb_params' || Object.hasOwn(embeddingEncoders, tensor)
}

/** The word of an embedding: its first tensor's name, or the file's in lower case if that is no word. As in diffusers, only a word in lower case has all of its vectors. */
export function embeddingWord(tensor: string, file: string): string {
  return isNoWord(tensor) ? file.replace(/\.safetensors$/i, '').toLowerCase() : tensor
}

/** Whether tensors with these names can only be an embedding's. */
export function areEmbeddingNames(tensors: readonly string[]): boolean {
  return tensors.length > 0 && tensors.every(isNoWord)
}
