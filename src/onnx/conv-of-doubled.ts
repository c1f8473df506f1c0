/** A 3 × 3 convolution of an image after nearest-neighbour doubling, with four products for each pixel of the result instead of nine. */

import type { GraphBuilder } from './graph-builder.js'
import { add } from './ops-math.js'
import { conv } from './ops-network.js'
import { concat, dimension, reshape, slice } from './ops-shape.js'
import type { ValueInfo } from './types.js'

/** Along each axis, a pixel of x becomes two pixels of the doubled image: the first (0) and the second (1). */
const places = [0, 1] as const

/**
 * Doubles x [batch, in, height, width] in height and width, then convolves it: [batch, out, 2 · height, 2 · width]. `weight` is [out, in,
 * 3, 3], the padding is 1. A pixel of x becomes 2 × 2 pixels of the doubled image. The 3 × 3 window around each of these has copies of only
 * four pixels of x. So for each of the four places, the result is a convolution of x whose 2 × 2 weights are sums of the 3 × 3 weights.
 * Where the weight is an initializer, onnxruntime computes the sums once, when it creates the session.
 */
export function convOfDoubled(graph: GraphBuilder, x: ValueInfo, weight: ValueInfo, bias: ValueInfo): ValueInfo {
  const [batch, height, width] = [dimension(x, 0), dimension(x, 2), dimension(x, 3)]
  const out = dimension(weight, 0)
  const rows = places.map((row) => {
    const ofRow = neighbourSums(graph, weight, 2, row)
    const columns = places.map((column) => {
      const sums = neighbourSums(graph, ofRow, 3, column)
      const pixels = conv(graph, x, sums, bias, { pads: [1 - row, 1 - column, row, column] })
      return reshape(graph, pixels, [batch, out, height, width, 1])
    })
    return reshape(graph, concat(graph, columns, 4), [batch, out, height, 1, 2 * width])
  })
  return reshape(graph, concat(graph, rows, 3), [batch, out, 2 * height, 2 * width])
}

/**
 * Of the three weights along `axis`, adds the two that meet copies of the same pixel: the last two for the first place, the first two for
 * the second.
 */
function neighbourSums(graph: GraphBuilder, weight: ValueInfo, axis: number, place: 0 | 1): ValueInfo {
  const part = (index: number) => slice(graph, weight, axis, index, index + 1)
  const sum = add(graph, part(1 - place), part(2 - place))
  return concat(graph, place === 0 ? [part(0), sum] : [sum, part(2)], axis)
}
