import { expect, test } from 'vitest'
import { misfitOf, readBranch, type BranchTensors } from './lora-forms.js'

/** A branch of the method LoKr with two whole matrices. */
function kronecker(left: readonly number[], right: readonly number[]): BranchTensors {
  const tensor = (name: string, shape: readonly number[]) => ({ name, dtype: 'F32', shape, begin: 0, end: 0 }) as const
  return new Map([
    ['lokr_w1', tensor('w1', left)],
    ['lokr_w2', tensor('w2', right)],
  ])
}

test('the right matrix of a Kronecker product has all pixels of a convolution', () => {
  const misfit = (left: readonly number[], right: readonly number[]) =>
    misfitOf(readBranch(kronecker(left, right), 'a.safetensors', 'conv'), 4, [2, 3, 3])
  expect(misfit([2, 2], [2, 1, 3, 3])).toBeUndefined()
  // The product has as many columns, but its parts are no pixels.
  expect(misfit([2, 3], [2, 6])).toMatchObject({ expected: [4, 2, 3, 3] })
  expect(misfit([2, 2], [2, 1, 3, 5])).toMatchObject({ expected: [4, 2, 3, 3] })
})
