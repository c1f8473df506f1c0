/**
 * Attention of one wide head over many tokens, as in the middle of autoencoders (512 channels, one token per latent pixel). It is
 * MatMul–Softmax–MatMul over chunks of the queries, because fused attention would need scratch memory that grows with the square of the tokens.
 */

import type { GraphBuilder } from '../../onnx/graph-builder.js'
import { matMul, scale, softmax } from '../../onnx/ops-math.js'
import { concat, dimension, slice, transpose } from '../../onnx/ops-shape.js'
import type { ValueInfo } from '../../onnx/types.js'

/** The largest number of elements in one chunk's scores: 64 MiB in float32. */
const scoreElements = 2 ** 24

/**
 * softmax(q · kᵀ / √channels) · v for query, key and value [batch, tokens, channels]. A chunk has at most `mostScores` scores, but at least
 * one query.
 */
export function chunkedAttention(
  graph: GraphBuilder,
  query: ValueInfo,
  key: ValueInfo,
  value: ValueInfo,
  mostScores = scoreElements,
): ValueInfo {
  const tokens = dimension(query, 1)
  const rows = Math.max(1, Math.floor(mostScores / (dimension(key, 1) * dimension(query, 0))))
  const scaled = scale(graph, query, 1 / Math.sqrt(dimension(query, 2)))
  const keys = transpose(graph, key, [0, 2, 1])
  const parts: ValueInfo[] = []
  for (let begin = 0; begin < tokens; begin += rows) {
    const chunk = slice(graph, scaled, 1, begin, Math.min(begin + rows, tokens))
    parts.push(matMul(graph, softmax(graph, matMul(graph, chunk, keys)), value))
  }
  return concat(graph, parts, 1)
}
