/** Weighted sums of tensors: what both kinds of device check, and the sum on the CPU. gpu-combine.ts is the GPU's. */

import { InputError } from '../errors.js'
import { mostTerms } from './webgpu/gpu-combine.js'
import type { LinearTerm } from './types.js'
import { elementCount } from '../util/element-count.js'

/** @throws InputError `bad-terms` */
export function checkTerms(terms: readonly LinearTerm[], bound = 0): void {
  if (!(bound >= 0 && bound < Number.POSITIVE_INFINITY))
    throw new InputError('bad-terms', `The bound of a sum is ${bound}; it must be finite and not negative.`, {
      bound: String(bound),
    })
  if (terms.length < 1 || terms.length > mostTerms)
    throw new InputError('bad-terms', `A sum has ${terms.length} terms; 1 to ${mostTerms} are allowed.`, { count: terms.length })
  for (const { tensor, scale, offset = 0 } of terms) {
    const length = elementCount(tensor.dims)
    if (tensor.type === 'float32' && Number.isFinite(scale) && Number.isInteger(offset) && offset >= 0 && offset < length)
      continue
    const message = `A term is ${tensor.type}[${tensor.dims.join(', ')}] times ${scale} from element ${offset}; it must be float32, finite and inside the tensor.`
    throw new InputError('bad-terms', message, { type: tensor.type, dims: tensor.dims, scale: String(scale), offset })
  }
}

/** The error of a term that lives on another device. */
export function foreignTerm(): InputError {
  return new InputError('bad-terms', 'A term of a sum is a tensor of another device.')
}

/** The sum in float64, rounded once, and no further from 0 than `bound`. */
export function combineOnHost(
  terms: readonly { readonly data: Float32Array; readonly scale: number; readonly offset: number }[],
  count: number,
  bound = Number.POSITIVE_INFINITY,
): Float32Array<ArrayBuffer> {
  const sums = new Float64Array(count)
  for (const { data, scale, offset } of terms)
    for (let i = 0; i < count; i++) sums[i] = (sums[i] ?? 0) + scale * (data[(offset + i) % data.length] ?? 0)
  return Float32Array.from(sums, (sum) => Math.min(bound, Math.max(-bound, sum)))
}
