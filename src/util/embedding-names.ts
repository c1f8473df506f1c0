/**
 * What the names of the tensors in a textual inversion's file mean. Used by the loader, and by the page, which reads only the header.
 * Pure.
 */

/** Tensor name → text encoder, in files for Stable Diffusion XL. A tensor with any other name is for the first text encoder. */
export const embeddingEncoders: Readonly<Record<string, string>> = {
  clip_l: 'text_encoder',
  clip_g: 'text_encoder_2',
  text_encoders_0: 'text_encoder',
  text_encoders_1: 'text_encoder_2',
}

/** The most vectors that one word may have: a prompt has no more tokens. */
export const mostEmbeddingVectors = 75

/** Whether a tensor's name is not the embedding's word: AUTOMATIC1111's `emb_params`, and the names of text encoders. */
function isNoWord(tensor: string): boolean {
  return tensor === 'emb_params' || Object.hasOwn(embeddingEncoders, tensor)
}

/**
 * The word of an embedding: its first tensor's name, or the file's name if the tensor's name is not a word. The file's name is put in lower case, because
 * in diffusers a word with capital letters stands for its first vector only.
 */
export function embeddingWord(tensor: string, file: string): string {
  return isNoWord(tensor) ? file.replace(/\.safetensors$/i, '').toLowerCase() : tensor
}

/** Whether tensors with these names can only be an embedding's. */
export function areEmbeddingNames(tensors: readonly string[]): boolean {
  return tensors.length > 0 && tensors.every(isNoWord)
}
