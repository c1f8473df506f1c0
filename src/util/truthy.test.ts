/** Python's truth of JSON values, as Python 3 gives it for the same text. */

import { expect, test } from 'vitest'
import { isTruthy } from './truthy.js'

test.each([null, false, 0, -0, '', [], {}])('%j is false', (value) => {
  expect(isTruthy(value, true)).toBe(false)
})

test.each([true, 1, -1, Number.NaN, 'false', [0], { a: null }])('%j is true', (value) => {
  expect(isTruthy(value, false)).toBe(true)
})

test('a missing key has the default', () => {
  expect([isTruthy(undefined, true), isTruthy(undefined, false)]).toEqual([true, false])
})
