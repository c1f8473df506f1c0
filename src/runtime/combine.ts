/** Weighted sums of tensors: what both kinds of device check, and the sum on the CPU. gpu-combine.ts is the GPU's. */

import { InputError } from '../errors.js'
import { elementCount } from './convert.js'
import { mostTerms } from './gpu-combine.js'
import type { LinearTerm } from './types.js'

/** @throws InputError `bad-terms` */
export function checkTerms(terms: readonly LinearTerm[]): void {
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

/** The sum in float32, rounded after each term as the GPU does. */
export function combineOnHost(
  terms: readonly { readonly data: Float32Array; readonly scale: number; readonly offset: number }[],
  count: number,
): Float32Array<ArrayBuffer> {
  const result = new Float32Array(count)
  for (const { data, scale, offset } of terms) {
    const factor = Math.fround(scale)
    for (let i = 0; i < count; i++) result[i] = (result[i] ?? 0) + Math.fround(factor * (data[(offset + i) % data.length] ?? 0))
  }
  return result
}
