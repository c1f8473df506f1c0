/** Fused weights have the same values whatever pieces they are read in; lora.parity.test.ts compares the changes of each kind with diffusers. */

import { expect, test } from 'vitest'
import { float32ToFloat16 } from '../../util/half.js'
import { bytesOf } from '../element-types.js'
import type { TensorEntry } from '../types.js'
import { fusedWeight, type LayerChange } from './fused-weight.js'

function tensor(name: string, shape: readonly number[], values: readonly number[], type: 'F32' | 'F16' = 'F32'): TensorEntry {
  const wide = Float32Array.from(values)
  const bytes = bytesOf(type === 'F32' ? wide : float32ToFloat16(wide))
  // Other bytes before and after the tensor, as in a file.
  const file = Uint8Array.of(...new Uint8Array(8).fill(255), ...bytes, ...new Uint8Array(8).fill(255))
  const source = {
    byteLength: file.length,
    read: async ({ begin, end }: { begin: number; end: number }) => file.slice(begin, end),
  }
  return { name, dtype: type, shape, source, begin: 8, end: 8 + bytes.length }
}

/** The weight of a convolution, [3, 1, 2, 2], with numbers that float16 represents exactly. */
const base = tensor('x.weight', [3, 1, 2, 2], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], 'F16')
const change: LayerChange = {
  form: { kind: 'low-rank', rank: 1 },
  tensors: new Map([
    ['lora_A', tensor('a', [1, 1, 2, 2], [1, 2, 3, 4])],
    ['lora_B', tensor('b', [3, 1, 1, 1], [1, 0, -1])],
  ]),
  scale: 0.5,
}
const expected = [0.5, 2, 3.5, 5, 4, 5, 6, 7, 7.5, 8, 8.5, 9]

test.each([4, 12, 20, 48])('read in pieces of %i bytes', async (size) => {
  const fused = fusedWeight(base, [change], 'fused')
  expect(fused).toMatchObject({ name: 'fused', dtype: 'F32', shape: base.shape, begin: 0, end: 48 })
  // Read all pieces at the same time, and all of them twice.
  for (let turn = 0; turn < 2; turn++) {
    const begins = Array.from({ length: Math.ceil(48 / size) }, (_, index) => index * size)
    const pieces = await Promise.all(begins.map((begin) => fused.source.read({ begin, end: Math.min(48, begin + size) })))
    expect([...new Float32Array(await new Blob(pieces).arrayBuffer())]).toEqual(expected)
  }
})

test('a device can add plain products itself, and no other changes', () => {
  const dora: LayerChange = { ...change, form: { kind: 'low-rank', rank: 1, magnitude: 'own' } }
  expect(fusedWeight(base, [change, change], 'fused').fused).toMatchObject({
    base,
    products: [{ rank: 1, scale: 0.5 }, { rank: 1 }],
  })
  expect(fusedWeight(base, [change, dora], 'fused').fused).toBeUndefined()
})

test('a read of the factors that fails is repeated by the next read', async () => {
  let fails = true
  const [a] = [tensor('a', [1, 1, 2, 2], [1, 2, 3, 4])]
  const source = {
    ...a.source,
    read: async (range: { begin: number; end: number }) => {
      if (fails) throw new Error('cancelled')
      return a.source.read(range)
    },
  }
  const fused = fusedWeight(base, [{ ...change, tensors: new Map([...change.tensors, ['lora_A', { ...a, source }]]) }], 'fused')
  await expect(fused.source.read({ begin: 0, end: 8 })).rejects.toThrow('cancelled')
  fails = false
  expect([...new Float32Array((await fused.source.read({ begin: 0, end: 8 })).buffer)]).toEqual([0.5, 2])
})
