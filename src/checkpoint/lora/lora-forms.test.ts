import { expect, test } from 'vitest'
import { misfitOf, readBranch, type BranchTensors } from './lora-forms.js'

const tensor = (name: string, shape: readonly number[]) => ({ name, dtype: 'F32', shape, begin: 0, end: 0 }) as const

/** Which tensor of a LoKr branch does not fit a 3 × 3 convolution from 2 channels to 4, if any. Both matrices of the branch are whole. */
function misfit(left: readonly number[], right: readonly number[]) {
  const tensors: BranchTensors = new Map([
    ['lokr_w1', tensor('w1', left)],
    ['lokr_w2', tensor('w2', right)],
  ])
  return misfitOf(readBranch(tensors, 'a.safetensors', 'conv'), 4, [2, 3, 3])
}

test('the right matrix of a Kronecker product has all pixels of a convolution', () => {
  expect(misfit([2, 2], [2, 1, 3, 3])).toBeUndefined()
  // The product has the right number of columns, but the right matrix does not consist of whole kernels of 3 × 3.
  expect(misfit([2, 3], [2, 6])).toMatchObject({ expected: [4, 2, 3, 3] })
  expect(misfit([2, 2], [2, 1, 3, 5])).toMatchObject({ expected: [4, 2, 3, 3] })
})

const formOf = (tensors: BranchTensors) => readBranch(tensors, 'a.safetensors', 'linear').form

test('each branch has its own bias or none, also where only some layers of a file have one', () => {
  const factors = [
    ['lora_A', tensor('a', [2, 8])],
    ['lora_B', tensor('b', [4, 2])],
  ] as const
  const bias = ['lora_B_bias', tensor('c', [4])] as const
  expect(formOf(new Map(factors))).toMatchObject({ kind: 'low-rank', bias: false })
  expect(formOf(new Map([...factors, bias]))).toMatchObject({ kind: 'low-rank', bias: true })
})
