/** What a checkpoint is once read: a table of tensors. Only types. */

import type { ByteSource } from '../hub/types.js'
import type { dtypeBytes } from '../util/dtype-bytes.js'

/** Element types that safetensors files hold, by their safetensors names. */
export type SafetensorsDType = keyof typeof dtypeBytes

/** One tensor: where its bytes are and what they mean. */
export interface TensorEntry {
  /** The name in the checkpoint, which is diffusers' parameter name. */
  readonly name: string
  readonly dtype: SafetensorsDType
  readonly shape: readonly number[]
  /** The file that holds it, and the bytes in that file. */
  readonly source: ByteSource
  readonly begin: number
  readonly end: number
}

/** Tensor name → where it is. The whole checkpoint of one component, shards joined. */
export type WeightTable = ReadonlyMap<string, TensorEntry>

/** A parsed `config.json`: diffusers' keys, untouched. */
export type Config = Readonly<Record<string, unknown>>

/** The library that wrote a component: the two have different file names and look for a single file or an index first. */
export type WeightLibrary = 'diffusers' | 'transformers'
