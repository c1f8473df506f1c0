import { expect, test } from 'vitest'
import { AquatintError } from '../errors.js'
import { parseHeaderLength, parseSafetensorsHeader, readSafetensorsHeader } from './safetensors.js'
import { float32File, MemorySource, safetensorsFile } from './testing.js'

async function codeOf(file: Uint8Array): Promise<string> {
  try {
    await readSafetensorsHeader(new MemorySource(file), 'x.safetensors')
    return 'accepted'
  } catch (error) {
    if (error instanceof AquatintError) return error.code
    throw error
  }
}

const f32 = (shape: readonly unknown[], begin: unknown, end: unknown) => ({ dtype: 'F32', shape, data_offsets: [begin, end] })

test('reads a header in two reads, with offsets from the start of the file', async () => {
  const file = safetensorsFile(
    {
      __metadata__: { format: 'pt' },
      b: { dtype: 'F16', shape: [3], data_offsets: [8, 14] },
      a: f32([2, 1], 0, 8),
      e: f32([0, 7], 14, 14),
      s: f32([], 14, 18),
    },
    18,
  )
  const source = new MemorySource(file)
  const { tensors, metadata } = await readSafetensorsHeader(source, 'x')
  expect(source.reads).toHaveLength(2)
  expect(metadata.get('format')).toBe('pt')
  const data = file.byteLength - 18
  expect(tensors.get('a')).toEqual({ name: 'a', dtype: 'F32', shape: [2, 1], begin: data, end: data + 8 })
  expect(tensors.get('b')).toEqual({ name: 'b', dtype: 'F16', shape: [3], begin: data + 8, end: data + 14 })
  expect(tensors.get('e')).toMatchObject({ begin: data + 14, end: data + 14 })
  expect(tensors.get('s')).toMatchObject({ shape: [], begin: data + 14, end: data + 18 })
})

test.each<[string, Uint8Array, string]>([
  ['an empty file', new Uint8Array(0), 'empty-file'],
  ['a header cut off', float32File({ a: [4] }).subarray(0, 20), 'safetensors-too-short'],
  ['data cut off', float32File({ a: [4], b: [4] }).slice(0, -1), 'safetensors-offsets'],
  ['bytes after the last tensor', safetensorsFile({ a: f32([1], 0, 4) }, 5), 'safetensors-coverage'],
  ['a gap', safetensorsFile({ a: f32([1], 0, 4), b: f32([1], 8, 12) }, 12), 'safetensors-offsets'],
  ['a first tensor that does not start at 0', safetensorsFile({ a: f32([1], 4, 8) }, 8), 'safetensors-offsets'],
  ['an overlap', safetensorsFile({ a: f32([2], 0, 8), b: f32([2], 4, 12) }, 12), 'safetensors-offsets'],
  ['two tensors on the same bytes', safetensorsFile({ a: f32([1], 0, 4), b: f32([1], 0, 4) }, 4), 'safetensors-offsets'],
  ['an end before the begin', safetensorsFile({ a: f32([1], 4, 0) }, 4), 'safetensors-offsets'],
  ['a negative offset', safetensorsFile({ a: f32([1], -4, 0) }, 4), 'safetensors-offsets'],
  ['an offset beyond 2^53', safetensorsFile({ a: f32([1], 0, 2 ** 60) }, 4), 'safetensors-offsets'],
  ['a fractional offset', safetensorsFile({ a: f32([1], 0, 4.5) }, 4), 'safetensors-offsets'],
  ['a shape that does not fit', safetensorsFile({ a: f32([2], 0, 4) }, 4), 'safetensors-size'],
  ['a product that overflows', safetensorsFile({ a: f32([2 ** 30, 2 ** 30, 2 ** 4], 0, 4) }, 4), 'safetensors-size'],
  ['a product that overflows to 0 in 64 bits', safetensorsFile({ a: f32([2 ** 32, 2 ** 32], 0, 0) }, 0), 'safetensors-size'],
  ['a negative dimension', safetensorsFile({ a: f32([-1, -1], 0, 4) }, 4), 'safetensors-shape'],
  ['rank 65', safetensorsFile({ a: f32(Array(65).fill(1), 0, 4) }, 4), 'safetensors-shape'],
  ['rank 9', safetensorsFile({ a: f32(Array(9).fill(1), 0, 4) }, 4), 'accepted'],
  ['a dimension that is text', safetensorsFile({ a: f32(['1'], 0, 4) }, 4), 'safetensors-shape'],
  ['an unknown key in an entry', safetensorsFile({ a: { ...f32([1], 0, 4), location: 'x' } }, 4), 'accepted'],
  ['an entry that is no object', safetensorsFile({ a: [1] }, 4), 'safetensors-tensor'],
  [
    'two equal keys',
    safetensorsFile(
      '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
      4,
    ),
    'json-duplicate-key',
  ],
  [
    'two keys equal after unescaping',
    safetensorsFile(
      String.raw`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"\u0061":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`,
      4,
    ),
    'json-duplicate-key',
  ],
  [
    'two equal keys inside an entry',
    safetensorsFile('{"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}', 4),
    'json-duplicate-key',
  ],
  ['a header that starts with a space', safetensorsFile(' {}', 0), 'accepted'],
  ['a header that is a list', safetensorsFile('[{}]', 0), 'safetensors-header-start'],
  ['a broken header', safetensorsFile('{"a":', 0), 'json-syntax'],
  [
    'a header that is not UTF-8',
    (() => {
      const file = safetensorsFile('{"aa":1}', 0)
      file[11] = 0xff
      return file
    })(),
    'json-encoding',
  ],
  ['metadata that is not text', safetensorsFile({ __metadata__: { a: 1 } }, 0), 'safetensors-metadata'],
  ['deep nesting', safetensorsFile(`{"a":${'['.repeat(100_000)}`, 0), 'json-depth'],
  [
    'names that no network has',
    safetensorsFile({ '': f32([1], 0, 4), 'a\u0007': f32([1], 4, 8), ['a'.repeat(513)]: f32([1], 8, 12) }, 12),
    'accepted',
  ],
  ['no tensors', safetensorsFile({}, 0), 'accepted'],
  ['a tensor called __proto__', safetensorsFile('{"__proto__":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', 1), 'accepted'],
  ['padding after the header', safetensorsFile('{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}   ', 1), 'accepted'],
])('%s is accepted, or refused with its code', async (_, file, code) => {
  expect(await codeOf(file)).toBe(code)
})

test('refuses a header length over the limit before reading it', async () => {
  for (const length of [25_000_001n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n, 0n, 1n]) {
    const bytes = new Uint8Array(8)
    new DataView(bytes.buffer).setBigUint64(0, length, true)
    const source = new MemorySource(bytes, Number.MAX_SAFE_INTEGER)
    await expect(readSafetensorsHeader(source, 'x')).rejects.toMatchObject({ code: 'safetensors-header-length' })
    // The second read is for the error message: its bytes show whether the file has another format.
    expect(source.reads).toEqual([
      { begin: 0, end: 8 },
      { begin: 0, end: 512 },
    ])
  }
})

test('refuses more tensors than there is memory for', () => {
  const header: Record<string, unknown> = {}
  for (let i = 0; i <= 100_000; i++) header[`t${i}`] = f32([0], 0, 0)
  const bytes = new TextEncoder().encode(JSON.stringify(header))
  expect(() => parseSafetensorsHeader(bytes, 'x', 8 + bytes.byteLength)).toThrow(
    expect.objectContaining({ code: 'json-too-complex' }),
  )
})

test('a __proto__ tensor stays a plain entry', () => {
  const file = safetensorsFile('{"__proto__":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', 1)
  const length = parseHeaderLength(file.subarray(0, 8), 'x', file.byteLength)
  const { tensors } = parseSafetensorsHeader(file.subarray(8, 8 + length), 'x', file.byteLength)
  expect([...tensors.keys()]).toEqual(['__proto__'])
})

test.each(['F4', 'toString', 'UNKNOWN'])('a tensor of the unknown type %s is listed with its name and its range', (dtype) => {
  const file = safetensorsFile({ a: { dtype, shape: [3], data_offsets: [0, 4] }, b: f32([1], 4, 8) }, 8)
  const length = new DataView(file.buffer, file.byteOffset).getUint32(0, true)
  const { tensors } = parseSafetensorsHeader(file.subarray(8, 8 + length), 'x.safetensors', file.byteLength)
  expect(tensors.get('a')).toMatchObject({ dtype: 'UNKNOWN', dtypeName: dtype, begin: 8 + length, end: 12 + length })
  expect(tensors.get('b')).toMatchObject({ dtype: 'F32' })
})

test('__metadata__ may be null, as the safetensors library reads it', () => {
  const file = safetensorsFile({ __metadata__: null, a: f32([1], 0, 4) }, 4)
  const length = new DataView(file.buffer, file.byteOffset).getUint32(0, true)
  expect(parseSafetensorsHeader(file.subarray(8, 8 + length), 'x.safetensors', file.byteLength).metadata.size).toBe(0)
})
