import { describe, expect, it } from 'vitest'
import { compareTensor, limitOf } from './compare.js'

const tensor = (values: number[]) => ({ dims: [values.length], data: Float32Array.from(values) })

describe('compareTensor', () => {
  it('passes at the limit and fails beyond it', () => {
    const reference = tensor([0, 1, -2])
    expect(compareTensor('noise_pred_0', reference, tensor([0, 1.0019, -2])).passed).toBe(true)
    expect(compareTensor('noise_pred_0', reference, tensor([0, 1.0021, -2])).passed).toBe(false)
    expect(compareTensor('prompt_embeds', reference, tensor([0, 1.0019, -2])).passed).toBe(false)
  })

  it('fails for what is missing, of other dims or not finite', () => {
    expect(compareTensor('image', tensor([1]), undefined).passed).toBe(false)
    expect(compareTensor('image', tensor([1]), tensor([1, 1])).passed).toBe(false)
    expect(compareTensor('latents_0', tensor([1]), tensor([NaN])).passed).toBe(false)
  })

  it('holds images against 50 dB', () => {
    const reference = tensor([0.5, 0.5])
    expect(compareTensor('image', reference, tensor([0.503, 0.503])).passed).toBe(true)
    expect(compareTensor('image', reference, tensor([0.504, 0.504])).passed).toBe(false)
  })

  it('gives schedules and embeddings the narrow limit', () => {
    expect(limitOf('timesteps')).toBe(1e-4)
    expect(limitOf('negative_pooled_prompt_embeds')).toBe(1e-4)
    expect(limitOf('latents_3')).toBe(1e-3)
  })
})
