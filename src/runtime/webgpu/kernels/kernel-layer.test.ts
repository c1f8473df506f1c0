/** Aquatint writes the inputs of some kernels for its own WGSL. If such a kernel has unknown WGSL, Aquatint throws. */
import { expect, test } from 'vitest'
import { rewriteKernel } from './kernel-layer.js'

test.each([
  ['computes a variance in an unknown way', 'let inv_std_dev = inverseSqrt(squared_sum_final - sum_final * sum_final + eps);'],
  ['computes no variance that is known', 'let inv_std_dev = inverseSqrt(welford(x));'],
])('ComputeChannelScaleShift is refused when it %s', (_, code) => {
  expect(() => rewriteKernel('ComputeChannelScaleShift', code)).toThrow('has another text than in release 1.30.0')
})

test('other kernels stay as they are, and are reported', () => {
  const code = 'let inv_std_dev = inverseSqrt(squared_sum_final - sum_final * sum_final + eps);'
  expect(rewriteKernel('LayerNorm', code)).toEqual({ code, outcome: 'unrecognized' })
  expect(rewriteKernel('Add', 'a + b')).toEqual({ code: 'a + b', outcome: 'kept' })
})
