import { expect, test } from 'vitest'
import { computeType } from './device-info.js'

test('float16 needs shaders that have it', () => {
  expect(computeType('float16', { kind: 'webgpu', shaderF16: true })).toBe('float16')
  expect(computeType('float16', { kind: 'webgpu', shaderF16: false })).toBe('float32')
  expect(computeType('float16', { kind: 'wasm', shaderF16: false })).toBe('float32')
  expect(computeType('float32', { kind: 'webgpu', shaderF16: true })).toBe('float32')
})
