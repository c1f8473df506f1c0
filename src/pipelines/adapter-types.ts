/** LoRAs and embeddings of a pipeline: the options of loading them, and what is loaded. Only types: they are part of the public API, and cross the worker boundary as plain data. */

/** Options of `loadLoraWeights`. */
export interface LoadLoraOptions {
  /** The name of the LoRA in `setAdapters`. Default: `default_0`, `default_1`, …. */
  readonly adapterName?: string | undefined
  /** The file in a repository. Default: `pytorch_lora_weights.safetensors`, or else the repository's first safetensors file. */
  readonly weightName?: string | undefined
  /** The folder of that file. Default: the root of the repository. */
  readonly subfolder?: string | undefined
  /** Branch, tag or commit of the repository. Default `main`. */
  readonly revision?: string | undefined
  /** The weight of the LoRA. Default 1. */
  readonly scale?: number | undefined
}

/** Options of `unfuseLora`. */
export interface UnfuseLoraOptions {
  /** The components that get the checkpoint's weights again, such as `['unet']`. Default: all that LoRAs can change. */
  readonly components?: readonly string[] | undefined
}

/** Options of `fuseLora`. */
export interface FuseLoraOptions {
  /** The components whose weights get the changes of LoRAs, such as `['unet']`. Default: all that LoRAs can change, for FLUX and Z-Image the transformer alone. */
  readonly components?: readonly string[] | undefined
  /** The LoRAs to fuse. Default: the active ones of each component. */
  readonly adapterNames?: string | readonly string[] | undefined
  /** Multiplies the weights of the LoRAs that are fused, until `setAdapters` sets others. Default 1. */
  readonly loraScale?: number | undefined
}

/** Options of `loadTextualInversion`. */
export interface LoadEmbeddingOptions {
  /** The word that stands for the embedding in prompts. Default: the file's own; if it names none, the file's name. */
  readonly token?: string | undefined
  /** The file in a repository. Default: `learned_embeds.safetensors`, or else the repository's first safetensors file. */
  readonly weightName?: string | undefined
  /** The folder of that file. Default: the root of the repository. */
  readonly subfolder?: string | undefined
  /** Branch, tag or commit of the repository. Default `main`. */
  readonly revision?: string | undefined
}

/** A change of a pipeline's LoRAs and embeddings. `Source`: what a LoRA is loaded from. */
export type AdapterCommand<Source = string | File> =
  | { readonly type: 'load'; readonly source: Source; readonly options?: LoadLoraOptions | undefined }
  /** Makes these LoRAs the active ones, with one weight for all or one for each; the default is 1. */
  | { readonly type: 'set'; readonly names: readonly string[]; readonly weights?: number | readonly number[] | undefined }
  /** Removes these LoRAs, by default all. */
  | { readonly type: 'delete'; readonly names?: readonly string[] | undefined }
  | { readonly type: 'fuse'; readonly options?: FuseLoraOptions | undefined }
  | { readonly type: 'unfuse'; readonly options?: UnfuseLoraOptions | undefined }
  /** Textual inversion. */
  | { readonly type: 'load-embedding'; readonly source: Source; readonly options?: LoadEmbeddingOptions | undefined }
  | { readonly type: 'delete-embeddings' }

/** A loaded LoRA. */
export interface LoraInfo {
  /** The name of the LoRA in `setAdapters`. */
  readonly adapterName: string
  /** The name of the LoRA's file. */
  readonly file: string
  /** The components that the LoRA changes, such as `unet` and `text_encoder`. */
  readonly components: readonly string[]
  /** The number of layers that the LoRA changes. */
  readonly layers: number
  /** The largest rank of the LoRA's factors. */
  readonly rank: number
  /** Words that a prompt should have, from the file's metadata. Empty if the metadata names none. */
  readonly triggerWords: readonly string[]
  /** Bytes of the LoRA's factors, as they are stored. */
  readonly bytes: number
  /** The LoRA's weight as `scale` or `setAdapters` last set it, times the `loraScale` of a fusion since then. */
  readonly weight: number
  /** Whether the LoRA changes images: because it is active, or because it is fused into weights. */
  readonly active: boolean
  /** The components into whose weights the LoRA is fused. */
  readonly fusedInto: readonly string[]
}
