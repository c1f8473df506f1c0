/** The second attempt to create a session on the CPU. Here, attempts are functions, because no test can cause onnxruntime's error. */
import { expect, test } from 'vitest'
import type { Session } from '../onnxruntime.js'
import { withSecondAttempt } from './wasm-backend.js'

const session = {} as Session
const lost = (name: string) =>
  new Error(`Can't create a session. ERROR_CODE: 1, ERROR_MESSAGE: Could not find OrtValue with name '${name}'`)

/** Returns the given results one after the other, and throws those that are errors. */
function attempts(...results: readonly (Session | Error)[]) {
  const left = [...results]
  const create = async () => {
    const result = left.shift()!
    if (result instanceof Error) throw result
    return result
  }
  return { create, left }
}

test('a session is created again if onnxruntime lost a name of the model', async () => {
  const { create, left } = attempts(lost('Gemm_103'), session)
  expect(await withSecondAttempt(create)).toBe(session)
  expect(left).toEqual([])
})

test('a second loss is reported, and every other error at once', async () => {
  const { create } = attempts(lost('Gemm_103'), lost('Slice_27'))
  await expect(withSecondAttempt(create)).rejects.toThrow('Slice_27')
  const { create: other, left } = attempts(new Error('std::bad_alloc'), session)
  await expect(withSecondAttempt(other)).rejects.toThrow('bad_alloc')
  expect(left).toEqual([session])
})
