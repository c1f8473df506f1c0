import { expect, it } from 'vitest'
import { checkWebAssembly } from './check-webassembly.js'

it('WebAssembly that works is no error', async () => {
  await expect(checkWebAssembly()).resolves.toBeUndefined()
})

it('the error says whether the browser lacks WebAssembly or a policy forbids it', async () => {
  await expect(checkWebAssembly({ WebAssembly: undefined })).rejects.toMatchObject({
    code: 'runtime-not-loaded',
    message: expect.stringContaining('turned off'),
  })
  const refusing = { ...WebAssembly, compile: () => Promise.reject(new WebAssembly.CompileError('violates the policy')) }
  await expect(checkWebAssembly({ WebAssembly: refusing })).rejects.toMatchObject({
    code: 'runtime-not-loaded',
    message: expect.stringContaining("'wasm-unsafe-eval'"),
  })
})
