/**
 * Attention in which several heads of the queries share one head of keys and values (arXiv 2305.13245). Keys and values are repeated, because
 * com.microsoft's GroupQueryAttention is only causal and needs a cache. The size of a head need not be the network's width divided by the heads.
 */

import type { GraphBuilder } from '../../onnx/graph-builder.js'
import { multiHeadAttention, type AttentionInputs } from '../../onnx/ops-network.js'
import { dimension, expand, reshape } from '../../onnx/ops-shape.js'
import type { ValueInfo } from '../../onnx/types.js'

/** Repeats each head of [batch, tokens, heads · size] `count` times in a row: torch's `repeat_interleave` on heads. */
function repeatHeads(graph: GraphBuilder, x: ValueInfo, headSize: number, count: number): ValueInfo {
  const [batch, tokens, width] = [dimension(x, 0), dimension(x, 1), dimension(x, 2)]
  const rows = reshape(graph, x, [batch * tokens, width / headSize, 1, headSize])
  return reshape(graph, expand(graph, rows, [batch * tokens, width / headSize, count, headSize]), [batch, tokens, width * count])
}

/**
 * softmax(q · kᵀ · scale + bias) · v. Queries are [batch, tokens, heads · headSize], keys and values [batch, keyTokens, keyHeads ·
 * headSize]. `scale` is 1/√headSize by default. The result has the shape of the queries.
 */
export function groupedQueryAttention(
  graph: GraphBuilder,
  { query, key, value, bias }: AttentionInputs,
  { heads, keyHeads, scale }: { readonly heads: number; readonly keyHeads: number; readonly scale?: number },
): ValueInfo {
  const headSize = dimension(query, 2) / heads
  if (heads % keyHeads !== 0 || dimension(key, 2) !== keyHeads * headSize)
    throw new Error(`${heads} heads of [${query.dims.join()}] cannot attend to ${keyHeads} heads of [${key.dims.join()}]`)
  const repeated = (x: ValueInfo) => repeatHeads(graph, x, headSize, heads / keyHeads)
  return multiHeadAttention(graph, { query, key: repeated(key), value: repeated(value), bias }, heads, scale)
}
