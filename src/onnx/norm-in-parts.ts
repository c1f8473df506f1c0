/** Normalization of long rows in float32, with small rounding errors. */

import { scalar } from './constants.js'
import type { GraphBuilder } from './graph-builder.js'
import { add, div, l2Norm, mean, mul, scale, sqrt, sub } from './ops-math.js'
import { dimension, reshape } from './ops-shape.js'
import type { ValueInfo } from './types.js'

/** The largest count of numbers that onnxruntime's CPU operators add up in one float32 number with a relative error of about 1e-6. */
export const longestSum = 16_384

/**
 * InstanceNormalization of each row of [batch, rows, length], in float32, for a length beyond {@link longestSum}. onnxruntime's CPU
 * operator adds up a whole row in one float32 number: for the 4 million numbers of a group of an image of 1024 × 1024 the error is 2e-3.
 * Here each row is added up in parts, whose sums are then added, and the variance is computed from the distances to the mean.
 */
export function normalizeInParts(graph: GraphBuilder, x: ValueInfo, epsilon: number): ValueInfo {
  const [batch, rows, length] = [dimension(x, 0), dimension(x, 1), dimension(x, 2)]
  let count = 1
  while (length / count > longestSum && length % (2 * count) === 0) count *= 2
  const parts = [batch, rows, count, length / count]
  const meanOfRow = (ofParts: ValueInfo) => reshape(graph, mean(graph, ofParts), [batch, rows, 1])
  const distance = sub(graph, x, meanOfRow(mean(graph, reshape(graph, x, parts))))
  const norms = l2Norm(graph, reshape(graph, distance, parts))
  const variance = scale(graph, meanOfRow(mul(graph, norms, norms)), count / length)
  return div(graph, distance, sqrt(graph, add(graph, variance, scalar(graph, epsilon, x.type))))
}
