/** Operations on host tensors, and the disposal of temporary tensors. */

import type { HostTensor } from '../runtime/types.js'
import type { PlainTensor } from './types.js'

/** A float32 tensor in host memory, as an input of a network or for an upload. */
export function float32Tensor(dims: readonly number[], data: Float32Array): HostTensor {
  return { type: 'float32', dims, data }
}

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

/** Something on a device that has to be disposed. */
interface Disposable {
  dispose(): void
}

/** Registers a tensor, or an object with several, for disposal at the end of {@link withTemporary}, and returns it. Tensors in host memory need no disposal. */
export type Keep = <V extends Disposable | HostTensor | undefined>(tensor: V) => V

/** Runs `work`, and disposes the tensors that it passed to `keep`, however it ends. */
export async function withTemporary<T>(work: (keep: Keep) => Promise<T>): Promise<T> {
  const kept: (Disposable | HostTensor)[] = []
  try {
    return await work((tensor) => {
      if (tensor !== undefined) kept.push(tensor)
      return tensor
    })
  } finally {
    for (const tensor of kept) if ('dispose' in tensor) tensor.dispose()
  }
}
