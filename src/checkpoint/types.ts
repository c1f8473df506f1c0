/** What a checkpoint is once read: a table of tensors. Only types. */

import type { ByteSource } from '../hub/types.js'

/** Element types that safetensors files hold, by their safetensors names. */
export type SafetensorsDType =
  | 'BOOL'
  | 'U8'
  | 'I8'
  | 'F8_E4M3'
  | 'F8_E5M2'
  | 'I16'
  | 'U16'
  | 'F16'
  | 'BF16'
  | 'I32'
  | 'U32'
  | 'F32'
  | 'F64'
  | 'I64'
  | 'U64'

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
