import { describe, expect, it } from 'vitest'
import { compareTensor, float16LimitOf, limitOf } from './compare.js'

const tensor = (values: number[]) => ({ dims: [values.length], data: Float32Array.from(values) })

describe('compareTensor', () => {
  it('passes at the limit and fails beyond it', () => {
    const reference = tensor([0, 1, -2])
    const passes = (value: number) => compareTensor('noise_pred_0', reference, tensor([0, value, -2])).passed
    expect(passes(1.00019)).toBe(true)
    expect(passes(1.00021)).toBe(false)
  })

  it('fails for tensors that are missing, have other dims or are not finite', () => {
    expect(compareTensor('image', tensor([1]), undefined).passed).toBe(false)
    expect(compareTensor('image', tensor([1]), tensor([1, 1])).passed).toBe(false)
    expect(compareTensor('latents_0', tensor([1]), tensor([NaN])).passed).toBe(false)
  })

  const own = { case: 0, rms: { noise_pred_0: 1e-3 }, psnr: 52 }

  it.each([
    ['float32', limitOf('image'), 0.50009, 0.50011],
    ['float16', float16LimitOf('image', own), 0.503, 0.504],
  ] as const)('fails for images of %s below a PSNR', (_, limit, near, far) => {
    const reference = tensor([0.5, 0.5])
    expect(compareTensor('image', reference, tensor([near, near]), limit).passed).toBe(true)
    expect(compareTensor('image', reference, tensor([far, far]), limit).passed).toBe(false)
  })

  it('allows 1.5 times the error of PyTorch in float16', () => {
    const limit = float16LimitOf('noise_pred_0', own)
    const passes = (value: number) => compareTensor('noise_pred_0', tensor([3, 4]), tensor([3, value]), limit).passed
    expect(passes(4.0074)).toBe(true)
    expect(passes(4.0076)).toBe(false)
    expect(float16LimitOf('timesteps', own)).toBeUndefined()
  })
})
