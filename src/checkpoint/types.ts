/** The types of a checkpoint that has been read: a table of tensors. */

import type { ByteSource } from '../hub/types.js'
import type { dtypeBytes } from '../util/dtype-bytes.js'

/** Element types of tensors, by their names in safetensors files. */
export type SafetensorsDType = keyof typeof dtypeBytes

/** A tensor: its type, its shape, and where its bytes are. */
export interface TensorEntry {
  /** The tensor's name: that in the file, until a transform gives it another one. */
  readonly name: string
  readonly dtype: SafetensorsDType
  /** The type's name in the file, if `dtype` is UNKNOWN. */
  readonly dtypeName?: string | undefined
  readonly shape: readonly number[]
  /** The file that holds the tensor, and the range of its bytes there. */
  readonly source: ByteSource
  readonly begin: number
  readonly end: number
  /** The block type, if the file has the tensor in quantized blocks. `source` decodes them. */
  readonly blocks?: { readonly name: string; readonly bits: 4 | 8 } | undefined
  /** Set if `source` adds products of LoRAs to a weight, and a device can add them itself. */
  readonly fused?: FusedProducts | undefined
}

/** A product that a LoRA adds to a weight [rows, …]: `scale` · B·A. */
export interface LoraProduct {
  /** [rank, …], with the weight's dimensions after the first. */
  readonly a: TensorEntry
  /** [rows, rank]. */
  readonly b: TensorEntry
  readonly rank: number
  readonly scale: number
}

/** A weight and the products to add to it. */
export interface FusedProducts {
  /** The weight without the products. */
  readonly base: TensorEntry
  readonly products: readonly LoraProduct[]
}

/**
 * The Linear weights of a network class whose quantization would harm images most, by tensor name. They are few numbers, but their errors
 * reach every block or the result.
 */
export interface SensitiveWeights {
  /** The weights that are never quantized, such as embedders, and the first and last projections. */
  readonly kept?: RegExp | undefined
  /** The weights that have 8 bits if the others have 4, such as modulations. */
  readonly eightBits?: RegExp | undefined
}

/** All tensors of one component by name, from all shards. */
export type WeightTable = ReadonlyMap<string, TensorEntry>

/** Something in the files of a checkpoint that loading ignores, assumes or replaces. */
export interface CheckpointNote {
  /** The kind of finding: docs/models.md lists the codes. */
  readonly code: string
  /** A sentence that says what was found, and how it affects the images. */
  readonly message: string
  /** The keys of a config, the tensors or the class that were found, each with its value. */
  readonly values: Readonly<Record<string, string>>
}

/** A parsed `config.json` with diffusers' keys. */
export type Config = Readonly<Record<string, unknown>>

/** The library that wrote a component. The two differ in file names, and in whether they look for a single file or for an index first. */
export type WeightLibrary = 'diffusers' | 'transformers'
