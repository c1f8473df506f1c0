/** Rotary position embeddings in a graph: turns the queries and keys of attention by the angles that rotary-tables.ts computes. */

import type { GraphBuilder } from '../../onnx/graph-builder.js'
import { rotaryEmbedding } from '../../onnx/ops-network.js'
import type { ValueInfo } from '../../onnx/types.js'
import { toCompute } from './layers.js'

/** The tables of a graph: float32 inputs, [tokens, size / 2] for all rows of the batch, or [batch · tokens, size / 2]. */
export interface RotaryInputs {
  readonly cos: ValueInfo
  readonly sin: ValueInfo
}

/**
 * Which values of a head are a pair: neighbours, as in diffusers' `apply_rotary_emb`, or a value and the value half a head later, as in
 * transformers' `rotate_half`.
 */
export type RotaryPairs = 'neighbours' | 'halves'

/** Turns each head of queries or keys `x` [batch, tokens, heads · size]. `x` has the graph's type, to which the tables are cast. */
export function rotary(graph: GraphBuilder, x: ValueInfo, { cos, sin }: RotaryInputs, pairs: RotaryPairs): ValueInfo {
  return rotaryEmbedding(graph, x, {
    cos: toCompute(graph, cos),
    sin: toCompute(graph, sin),
    interleaved: pairs === 'neighbours',
  })
}
