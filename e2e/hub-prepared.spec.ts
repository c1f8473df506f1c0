/** Converted tensors are cached in prepared chunks: each is converted once, in bounded memory, and a killed conversion resumes (docs/downloads.md). */

import { createHash } from 'node:crypto'
import { mebibyte, weightsPath } from './hub/files.js'
import { expect, test } from './hub/harness.js'
import { referenceCast } from './hub/reference-casts.js'

const hashOf = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')

/** Every pattern of 16 bits, over and over; as float32 each is the upper half, with a lower half that differs from one to the next. */
function everyPattern(width: 2 | 4, size: number): Uint8Array {
  const values = width === 2 ? new Uint16Array(size / 2) : new Uint32Array(size / 4)
  // Lower halves that are ties, just beside ties, nothing, and all.
  const lower = [0, 1, 0x0fff, 0x1000, 0x1001, 0x2000, 0x3000, 0x7fff, 0x8000, 0x8001, 0xf000, 0xffff]
  for (let i = 0; i < values.length; i++)
    values[i] = width === 2 ? i & 0xffff : (i & 0xffff) * 0x1_0000 + (lower[(i >>> 16) % lower.length] ?? 0)
  return new Uint8Array(values.buffer)
}

/** Smaller chunks than usual, so that small files have many; the two tensors meet inside one. */
const settings = { chunkBytes: mebibyte, pieceBytes: mebibyte / 2 }

for (const [from, to] of [
  ['F32', 'F16'],
  ['BF16', 'F16'],
  ['BF16', 'F32'],
  ['F16', 'F32'],
] as const) {
  test(`${from} becomes ${to} to the bit, every pattern, once, and a killed conversion resumes`, async ({ server, hub }) => {
    // Each upper half with each lower one: 65,536 times 12 values of four bytes, and a half.
    const bytes = everyPattern(from === 'F32' ? 4 : 2, 4.5 * mebibyte)
    const expected = referenceCast(bytes, from, to)
    const name = `prepared ${to}`
    server.setRepository('owner/name', { [weightsPath]: bytes })
    const open = async () => {
      await hub.call('setUp', settings)
      await hub.call('open', 'owner/name', { endpoint: server.url })
      await hub.call('load', weightsPath)
    }
    await open()
    // Half of it is made; what comes after that is never read, so that it is killed in the middle.
    const hold = hub.call('prepare', weightsPath, from, to, bytes.length / 2)
    hold.catch(() => {})
    const half = Math.floor(expected.length / 2 / mebibyte) * mebibyte
    await hub.reaches(name, half)
    await hub.terminate()
    await hub.page.reload()
    server.clearLog()
    await open()
    expect(await hub.call('prepare', weightsPath, from, to)).toBe(expected.length)
    expect(await hub.call('hash', name)).toBe(hashOf(expected))
    expect((await hub.progress(name)).cached).toBe(half)
    // One chunk at a time is in memory, whatever the size.
    expect(await hub.call('memoryPeak')).toBe(mebibyte)
    // Made once: the second time it is all there.
    await hub.call('prepare', weightsPath, from, to)
    expect(await hub.progress(name)).toMatchObject({ cached: expected.length, total: expected.length })
    expect((await hub.call('verify')).bad).toEqual([])
    expect(server.log).toEqual([])
  })
}
