import { expect, test } from 'vitest'
import { computeType } from './device-info.js'

test('networks compute in float16 only on a device that has it', () => {
  expect(computeType('float16', { shaderF16: true })).toBe('float16')
  expect(computeType('float16', { shaderF16: false })).toBe('float32')
  expect(computeType('float32', { shaderF16: true })).toBe('float32')
})
