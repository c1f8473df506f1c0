/** Errors of this copy and of a second copy of the library, and their way across the worker boundary. */

import { expect, test, vi } from 'vitest'
import { AquatintError, deserializeError, HubError, isAquatintError, serializeError } from './errors.js'

const failure = () => new HubError('network', 'The connection failed.', { status: 0 }, new Error('socket'))

test('an error is recognized, by its code where codes are given', () => {
  expect(isAquatintError(failure())).toBe(true)
  expect(isAquatintError(failure(), 'network')).toBe(true)
  expect(isAquatintError(failure(), 'gated', 'network')).toBe(true)
  expect(isAquatintError(failure(), 'gated')).toBe(false)
  for (const other of [new Error('network'), { code: 'network' }, 'network', null, undefined]) {
    expect(isAquatintError(other)).toBe(false)
  }
})

test('an error of a second copy of the library is recognized too', async () => {
  vi.resetModules()
  const copy = await import('./errors.js')
  const foreign = new copy.HubError('network', 'The connection failed.')
  expect(foreign).not.toBeInstanceOf(AquatintError)
  expect(isAquatintError(foreign, 'network')).toBe(true)
  expect(isAquatintError(foreign, 'gated')).toBe(false)
  expect(copy.isAquatintError(failure(), 'network')).toBe(true)
  expect(serializeError(foreign)).toMatchObject({ kind: 'HubError', code: 'network' })
})

test('an error keeps its class, code, details and cause across the worker boundary', () => {
  const crossed = deserializeError(structuredClone(serializeError(failure())))
  expect(crossed).toBeInstanceOf(HubError)
  expect(crossed).toMatchObject({ name: 'HubError', code: 'network', details: { status: 0 }, cause: { message: 'socket' } })
})
