/** Errors of this copy and of a second copy of the library, and their way across the worker boundary. */

import { expect, expectTypeOf, test, vi } from 'vitest'
import {
  AquatintError,
  deserializeError,
  DeviceError,
  HubError,
  isAquatintError,
  serializeError,
  UnsupportedError,
  type ErrorDetail,
  type HubErrorCode,
} from './errors.js'

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

test('a code gives details their type, in one copy of the library and in another', async () => {
  vi.resetModules()
  const copy = await import('./errors.js')
  const details = { component: 'unet', needed: 3, offered: 2 }
  const foreign: unknown = new copy.DeviceError('does-not-fit', 'unet needs 3 bytes; 2 are available.', details)
  if (!isAquatintError(foreign, 'does-not-fit')) throw new Error('the error is not recognized')
  expect([foreign.details.component, foreign.details.needed, foreign.details.offered]).toEqual(['unet', 3, 2])
  expectTypeOf(foreign.details.component).toEqualTypeOf<string>()
  expectTypeOf(foreign.details.offered).toEqualTypeOf<number | Readonly<Record<string, number>>>()
  expectTypeOf(foreign.details['other']).toEqualTypeOf<ErrorDetail | undefined>()
})

test('with several codes, a comparison of the code picks the details of one', () => {
  const error: unknown = new UnsupportedError('unsupported-class', 'No.', { className: 'X', supported: ['Y'] })
  if (!isAquatintError(error, 'unsupported-class', 'buffer-too-large', 'network')) throw new Error('the error is not recognized')
  if (error.code === 'buffer-too-large') expectTypeOf(error.details.bytes).toEqualTypeOf<number>()
  else if (error.code === 'unsupported-class')
    expectTypeOf(error.details.supported).toEqualTypeOf<readonly string[] | undefined>()
  else expectTypeOf(error.details).toEqualTypeOf<Readonly<Record<string, ErrorDetail>>>()
  expect(error.details).toEqual({ className: 'X', supported: ['Y'] })
})

test('without codes, a comparison picks the details too', () => {
  const error: unknown = new HubError('gated', 'No.', { repository: 'owner/name', status: 401 })
  if (!isAquatintError(error) || error.code !== 'gated') throw new Error('the error is not recognized')
  expectTypeOf(error.details.status).toEqualTypeOf<number>()
  expect(error.details.repository).toBe('owner/name')
})

test('instanceof tells the classes apart, and gives the codes of the class', () => {
  const error: unknown = failure()
  expect([error instanceof HubError, error instanceof AquatintError, error instanceof Error]).toEqual([true, true, true])
  expect([error instanceof DeviceError, new Error('x') instanceof AquatintError]).toEqual([false, false])
  if (error instanceof HubError) expectTypeOf(error.code).toEqualTypeOf<HubErrorCode>()
})

test('an error with other details than its code promises does not compile', () => {
  type Given<Details> = ['does-not-fit', string, Details]
  type Taken = ConstructorParameters<typeof DeviceError<'does-not-fit'>>
  expectTypeOf<Given<{ component: string; needed: number; offered: number }>>().toExtend<Taken>()
  expectTypeOf<Given<{ component: string; needed: number }>>().not.toExtend<Taken>()
  expectTypeOf<Given<{ component: string; needed: string; offered: number }>>().not.toExtend<Taken>()
  expectTypeOf<['does-not-fit', string]>().not.toExtend<Taken>()
  expectTypeOf<['network', string]>().toExtend<ConstructorParameters<typeof HubError<'network'>>>()
  // If the type of a code is a union, the details must suit each of its codes.
  expectTypeOf<['gated' | 'network', string, { status: number }]>().not.toExtend<
    ConstructorParameters<typeof HubError<'gated' | 'network'>>
  >()
})
