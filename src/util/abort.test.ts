import { expect, test } from 'vitest'
import { abortError, isAbortError, orAbort, throwIfAborted } from './abort.js'

test('an aborted signal gives an AbortError, whatever its reason', () => {
  expect(isAbortError(abortError(AbortSignal.abort()))).toBe(true)
  const odd = abortError(AbortSignal.abort(new Error('the tab closed')))
  expect(isAbortError(odd)).toBe(true)
  expect(odd.message).toBe('the tab closed')
  expect(isAbortError(abortError(AbortSignal.abort('why')))).toBe(true)
  expect(() => throwIfAborted(AbortSignal.abort())).toThrow(/abort/)
  expect(() => throwIfAborted(undefined)).not.toThrow()
})

test('orAbort settles as its promise does', async () => {
  const { signal } = new AbortController()
  await expect(orAbort(Promise.resolve(3), signal)).resolves.toBe(3)
  await expect(orAbort(Promise.reject(new Error('no')), signal)).rejects.toThrow('no')
  await expect(orAbort(Promise.resolve(4), undefined)).resolves.toBe(4)
})

test('orAbort ends a wait for a promise that never settles', async () => {
  const controller = new AbortController()
  const wait = orAbort(new Promise<never>(() => {}), controller.signal)
  controller.abort()
  await expect(wait).rejects.toSatisfy(isAbortError)
  await expect(orAbort(Promise.resolve(1), controller.signal)).rejects.toSatisfy(isAbortError)
})
