/** Issue 3, promise 12: tensors are converted on the way into prepared chunks, once, in bounded memory, and that can be resumed. */

import { createHash } from 'node:crypto'
import { mebibyte, weightsPath } from './hub/files.js'
import { expect, test } from './hub/harness.js'
import { referenceCast } from './hub/reference-casts.js'
import { syntheticFile, type VirtualFile } from './hub-server/repositories.js'

const file = syntheticFile(48 * mebibyte, 5)

const bytesOf = async (source: VirtualFile) => source.read(0, source.size)
const hashOf = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')

test('12: BF16 becomes F32 in prepared chunks, once, and goes on where it was killed', async ({ server, hub }) => {
  const expected = hashOf(referenceCast(await bytesOf(file), 'BF16', 'F32'))
  server.setRepository('owner/name', { [weightsPath]: file })
  await hub.call('open', 'owner/name', { endpoint: server.url })
  await hub.call('load', weightsPath)
  hub.call('prepare', weightsPath, 'BF16', 'F32').catch(() => {})
  await hub.reaches('prepared F32', 60 * mebibyte)
  await hub.terminate()
  await hub.page.reload()
  server.clearLog()
  await hub.call('open', 'owner/name', { endpoint: server.url })
  await hub.call('load', weightsPath)
  expect(await hub.call('prepare', weightsPath, 'BF16', 'F32')).toBe(expected)
  // Three chunks of 16 MiB were stored before the end.
  expect((await hub.progress('prepared F32')).cached).toBeGreaterThanOrEqual(48 * mebibyte)
  expect(await hub.call('memoryPeak')).toBe(16 * mebibyte)
  expect(await hub.call('prepare', weightsPath, 'BF16', 'F32')).toBe(expected)
  expect((await hub.progress('prepared F32')).cached).toBe(2 * file.size)
  expect(server.log).toEqual([])
})

/** Every pattern of 16 bits, over and over; as float32 each is the upper half, with a lower half that differs from one to the next. */
function everyPattern(width: 2 | 4, size: number): Uint8Array {
  const values = width === 2 ? new Uint16Array(size / 2) : new Uint32Array(size / 4)
  // Lower halves that are ties, just beside ties, nothing, and all.
  const lower = [0, 1, 0x0fff, 0x1000, 0x1001, 0x2000, 0x3000, 0x7fff, 0x8000, 0x8001, 0xf000, 0xffff]
  for (let i = 0; i < values.length; i++)
    values[i] = width === 2 ? i & 0xffff : (i & 0xffff) * 0x1_0000 + (lower[(i >>> 16) % lower.length] ?? 0)
  return new Uint8Array(values.buffer)
}

for (const [from, to] of [
  ['F32', 'F16'],
  ['BF16', 'F16'],
  ['F16', 'F32'],
] as const) {
  test(`12: ${from} becomes ${to} to the bit, every pattern, across chunks`, async ({ server, hub }) => {
    // The prepared file has two chunks of 16 MiB at least, and the tensors meet inside one.
    const bytes = everyPattern(from === 'F32' ? 4 : 2, from === 'F32' ? 36 * mebibyte : 18 * mebibyte)
    server.setRepository('owner/name', { [weightsPath]: bytes })
    await hub.call('open', 'owner/name', { endpoint: server.url })
    await hub.call('load', weightsPath)
    const expected = hashOf(referenceCast(bytes, from, to))
    expect(await hub.call('prepare', weightsPath, from, to)).toBe(expected)
    // Made once: the second time it is all there.
    expect(await hub.call('prepare', weightsPath, from, to)).toBe(expected)
    const progress = await hub.progress(`prepared ${to}`)
    expect(progress.cached).toBe(progress.total)
    expect((await hub.call('verify')).bad).toEqual([])
  })
}
