/** The few operations that pipelines do on host tensors. */

import type { PlainTensor } from '../types.js'

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

/** `count` copies along the first axis of a tensor whose first axis is 1. */
export function repeatBatch(tensor: PlainTensor, count: number): PlainTensor {
  return concatBatch(Array.from({ length: count }, () => tensor))
}
