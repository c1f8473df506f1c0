/** The few operations that pipelines do on host tensors. */

import type { PlainTensor } from './types.js'

/** Tensors one after the other along the first axis, as `torch.cat`. Their other dims are equal. */
export function concatBatch(tensors: readonly PlainTensor[]): PlainTensor {
  const data = new Float32Array(tensors.reduce((sum, tensor) => sum + tensor.data.length, 0))
  let at = 0
  for (const tensor of tensors) {
    data.set(tensor.data, at)
    at += tensor.data.length
  }
  const batch = tensors.reduce((sum, tensor) => sum + (tensor.dims[0] ?? 0), 0)
  return { dims: [batch, ...(tensors[0]?.dims.slice(1) ?? [])], data }
}

/** Tensors side by side along the last axis, as `torch.cat(dim=-1)`. Their other dims are equal. */
export function concatLast(tensors: readonly PlainTensor[]): PlainTensor {
  const widths = tensors.map((tensor) => tensor.dims.at(-1) ?? 0)
  const width = widths.reduce((sum, value) => sum + value, 0)
  const rows = (tensors[0]?.data.length ?? 0) / (widths[0] ?? 1)
  const data = new Float32Array(rows * width)
  let column = 0
  for (const [i, tensor] of tensors.entries()) {
    const own = widths[i] ?? 0
    for (let row = 0; row < rows; row++) data.set(tensor.data.subarray(row * own, (row + 1) * own), row * width + column)
    column += own
  }
  return { dims: [...(tensors[0]?.dims.slice(0, -1) ?? []), width], data }
}

/** Sequences [1, tokens, width] one below the other, as `torch.cat(dim=-2)`. */
export function concatTokens(tensors: readonly PlainTensor[]): PlainTensor {
  const { data } = concatBatch(tensors)
  const width = tensors[0]?.dims.at(-1) ?? 1
  return { dims: [1, data.length / width, width], data }
}

/** Zeros after each row of the last axis, up to `width`. */
export function padLast(tensor: PlainTensor, width: number): PlainTensor {
  const own = tensor.dims.at(-1) ?? 0
  if (own >= width) return tensor
  const rows = tensor.data.length / own
  return concatLast([tensor, { dims: [...tensor.dims.slice(0, -1), width - own], data: new Float32Array(rows * (width - own)) }])
}

/** `count` copies along the first axis of a tensor whose first axis is 1. */
export function repeatBatch(tensor: PlainTensor, count: number): PlainTensor {
  return concatBatch(Array.from({ length: count }, () => tensor))
}

export function zerosLike(tensor: PlainTensor): PlainTensor {
  return { dims: tensor.dims, data: new Float32Array(tensor.data.length) }
}
