import { expect, test } from 'vitest'
import { isAquatintError } from '../errors.js'
import { assertHealthy } from './health.js'

function codeOf(values: number[]): string {
  try {
    assertHealthy(Float32Array.from(values), 'the image')
    return 'healthy'
  } catch (error) {
    return isAquatintError(error) ? error.code : String(error)
  }
}

test('NaN, infinity and nothing but zeros are reported', () => {
  expect(codeOf([0, 1, -1])).toBe('healthy')
  expect(codeOf([1, Number.NaN])).toBe('not-finite')
  expect(codeOf([1, -Infinity])).toBe('not-finite')
  expect(codeOf([0, -0])).toBe('all-zero')
  expect(codeOf([])).toBe('healthy')
})
