import { describe, expect, it } from 'vitest'
import { compareTensor, limitOf } from './compare.js'

const tensor = (values: number[]) => ({ dims: [values.length], data: Float32Array.from(values) })

describe('compareTensor', () => {
  it('passes at the limit and fails beyond it', () => {
    const reference = tensor([0, 1, -2])
    const passes = (name: string, value: number, dtype: 'float32' | 'float16') =>
      compareTensor(name, reference, tensor([0, value, -2]), dtype).passed
    expect(passes('noise_pred_0', 1.00019, 'float32')).toBe(true)
    expect(passes('noise_pred_0', 1.00021, 'float32')).toBe(false)
    expect(passes('noise_pred_0', 1.0019, 'float16')).toBe(true)
    expect(passes('noise_pred_0', 1.0021, 'float16')).toBe(false)
    expect(passes('prompt_embeds', 1.0019, 'float16')).toBe(false)
  })

  it('fails for tensors that are missing, have other dims or are not finite', () => {
    expect(compareTensor('image', tensor([1]), undefined).passed).toBe(false)
    expect(compareTensor('image', tensor([1]), tensor([1, 1])).passed).toBe(false)
    expect(compareTensor('latents_0', tensor([1]), tensor([NaN])).passed).toBe(false)
  })

  it.each([
    ['float32', 80, 0.50009, 0.50011],
    ['float16', 50, 0.503, 0.504],
  ] as const)('holds images of %s against %d dB', (dtype, _, near, far) => {
    const reference = tensor([0.5, 0.5])
    expect(compareTensor('image', reference, tensor([near, near]), dtype).passed).toBe(true)
    expect(compareTensor('image', reference, tensor([far, far]), dtype).passed).toBe(false)
  })

  it('applies the narrow limit to schedules and embeddings', () => {
    expect(limitOf('timesteps', 'float16')).toBe(1e-4)
    expect(limitOf('negative_pooled_prompt_embeds', 'float16')).toBe(1e-4)
    expect(limitOf('latents_3', 'float16')).toBe(1e-3)
  })
})
