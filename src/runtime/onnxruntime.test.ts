import { expect, test } from 'vitest'
import { buildFor, loadOnnxRuntime } from './onnxruntime.js'

// e2e/without-jspi.spec.ts makes a picture with the build for browsers that cannot suspend WebAssembly.
test('the build is chosen by what the browser can do', () => {
  expect(buildFor('wasm', { Suspending: true })).toBe('wasm')
  expect(buildFor('wasm', {})).toBe('wasm')
  expect(buildFor('webgpu', { Suspending: true })).toBe('jspi')
  expect(buildFor('webgpu', {})).toBe('webgpu')
})

test('a build is loaded once', async () => {
  const [first, second] = await Promise.all([loadOnnxRuntime('wasm'), loadOnnxRuntime('wasm')])
  expect(first).toBe(second)
})
