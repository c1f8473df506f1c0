import { expect, test } from 'vitest'
import { float16ToFloat32 } from '../util/half.js'
import { testCheckpoint, worstError } from './testing.js'
import { streamWeights } from './weight-stream.js'

const shapes = { small: [3], large: [3_000_000], odd: [5, 7] }

test('every byte of every tensor is passed on once, in the type that it is converted to', async () => {
  const { table, values } = testCheckpoint(shapes)
  const wanted = [...table.values()].flatMap((entry) => [
    { entry, type: 'float32' as const, into: new Uint8Array(entry.end - entry.begin) },
    { entry, type: 'float16' as const, into: new Uint8Array((entry.end - entry.begin) / 2) },
  ])
  await streamWeights(wanted, ({ wanted: { into }, byteOffset, bytes }) => into.set(bytes, byteOffset))
  for (const { entry, type, into } of wanted) {
    const exact = values.get(entry.name)!
    const actual = type === 'float32' ? new Float32Array(into.buffer) : float16ToFloat32(new Uint16Array(into.buffer))
    expect(worstError(actual, exact)).toBeLessThanOrEqual(type === 'float32' ? 0 : 0.4 * 2 ** -11)
  }
})

test('at most three pieces are read at a time', async () => {
  const { table, source } = testCheckpoint(shapes)
  let open = 0
  let most = 0
  const read = source.read.bind(source)
  source.read = async (...call) => {
    most = Math.max(most, ++open)
    return read(...call).finally(() => open--)
  }
  await streamWeights(
    [...table.values()].map((entry) => ({ entry, type: 'float32' as const })),
    () => {},
  )
  expect(source.reads).toBe(3)
  expect(most).toBeLessThanOrEqual(3)
})

test('a cancel and a failing callback stop the reading', async () => {
  const { table, source } = testCheckpoint({ ...shapes, more: [15_000_000] })
  const wanted = [...table.values()].map((entry) => ({ entry, type: 'float32' as const }))
  const controller = new AbortController()
  const taken = streamWeights(wanted, () => controller.abort(), controller.signal)
  await expect(taken).rejects.toMatchObject({ name: 'AbortError' })
  expect(source.reads).toBeLessThanOrEqual(4)
  await expect(streamWeights(wanted, () => Promise.reject(new Error('full')))).rejects.toThrow('full')
  expect(source.reads).toBeLessThanOrEqual(8)
})
