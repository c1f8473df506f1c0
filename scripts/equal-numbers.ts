/**
 * Vitest runs this before each file of tests. For `toEqual`, a typed array is an object with a property for each number: a million numbers take
 * seconds. The function below gives the same answer in milliseconds. `toEqual` finds any two ArrayBuffers equal; this compares their bytes.
 */
import { expect } from 'vitest'

type Numbers = ArrayLike<number | bigint>

/** The numbers of a typed array, or the bytes of an ArrayBuffer. Undefined for any other value. */
function numbersOf(value: unknown): Numbers | undefined {
  if (value instanceof ArrayBuffer) return new Uint8Array(value)
  return ArrayBuffer.isView(value) && !(value instanceof DataView) ? (value as unknown as Numbers) : undefined
}

/** Whether two arrays have the same constructor, length and numbers; undefined for other values. As for `toEqual`, NaN equals NaN, and 0 is not −0. */
export function equalNumbers(first: unknown, second: unknown): boolean | undefined {
  const [a, b] = [numbersOf(first), numbersOf(second)]
  if (a === undefined || b === undefined) return undefined
  if ((first as object).constructor !== (second as object).constructor || a.length !== b.length) return false
  for (let index = 0; index < a.length; index++) if (!Object.is(a[index], b[index])) return false
  return true
}

/** The setup runs once for each file, but files share `expect`. */
const installed = Symbol.for('equalNumbers')
if (!(installed in globalThis)) {
  Object.defineProperty(globalThis, installed, { value: true })
  expect.addEqualityTesters([equalNumbers])
}
