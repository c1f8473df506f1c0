import { expect, test } from 'vitest'
import type { SafetensorsDType, TensorEntry } from './types.js'
import { checkConvertible, convertElements, isConvertible, valueBytes } from './element-types.js'
import { elementCount } from '../util/element-count.js'

function bytesOf(array: ArrayBufferView<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength)
}

const one: readonly [SafetensorsDType, Uint8Array<ArrayBuffer>][] = [
  ['F64', bytesOf(Float64Array.of(1, -2))],
  ['F32', bytesOf(Float32Array.of(1, -2))],
  ['F16', bytesOf(Uint16Array.of(0x3c00, 0xc000))],
  ['BF16', bytesOf(Uint16Array.of(0x3f80, 0xc000))],
  ['F8_E4M3', Uint8Array.of(0x38, 0xc0)],
  ['F8_E5M2', Uint8Array.of(0x3c, 0xc0)],
]

test.each(one)('%s becomes float32 and float16', (dtype, bytes) => {
  expect(convertElements(bytes, dtype, 'float32')).toEqual(bytesOf(Float32Array.of(1, -2)))
  expect(convertElements(bytes, dtype, 'float16')).toEqual(bytesOf(Uint16Array.of(0x3c00, 0xc000)))
})

test('a piece at an odd offset of its file converts as well', () => {
  const file = new Uint8Array(9)
  file.set(bytesOf(Float32Array.of(1, -2)), 1)
  expect(convertElements(file.subarray(1), 'F32', 'float16')).toEqual(bytesOf(Uint16Array.of(0x3c00, 0xc000)))
})

test('bytes that stay the same are not copied', () => {
  const bytes = Uint8Array.of(1, 2, 3, 4)
  expect(convertElements(bytes, 'F32', 'float32')).toBe(bytes)
  expect(convertElements(bytes, 'U8', 'uint8')).toBe(bytes)
})

test('only tensors of floats are cast to another float type', () => {
  expect(isConvertible('BF16', 'float16')).toBe(true)
  expect(isConvertible('I64', 'int64')).toBe(true)
  expect(isConvertible('I64', 'float32')).toBe(false)
  expect(isConvertible('F32', 'int32')).toBe(false)
  expect(isConvertible('I8', 'uint8')).toBe(false)
})

test('a tensor that cannot fill its weight is named', () => {
  const source = { byteLength: 16, read: () => Promise.reject(new Error('not read')) }
  const entry: TensorEntry = { name: 'conv.weight', dtype: 'F32', shape: [2, 2], source, begin: 0, end: 16 }
  expect(() => checkConvertible(entry, 'float16', [4])).not.toThrow()
  expect(() => checkConvertible(entry, 'int64', [4])).toThrow(/conv\.weight is F32.*int64/)
  expect(() => checkConvertible(entry, 'float32', [2, 3])).toThrow(/conv\.weight has shape \[2, 2\].*\[2, 3\]/)
})

test('the number of bytes follows from the type and the dims', () => {
  expect(elementCount([])).toBe(1)
  expect(valueBytes('float16', [2, 3])).toBe(12)
  expect(valueBytes('int64', [1, 77])).toBe(616)
})
