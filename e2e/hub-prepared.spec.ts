/** Promise 12 of docs/downloads.md: tensors are converted exactly and once into a prepared file, with the memory of one chunk; after a kill the conversion resumes. */

import { createHash } from 'node:crypto'
import { mebibyte, weightsPath } from './hub/files.js'
import { expect, test } from './hub/harness.js'
import { referenceCast } from './hub/reference-casts.js'

const hashOf = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')

/** Every pattern of 16 bits, repeatedly. In values of four bytes, the pattern is the upper half, and each repetition has another lower half. */
function everyPattern(width: 2 | 4, size: number): Uint8Array {
  const values = width === 2 ? new Uint16Array(size / 2) : new Uint32Array(size / 4)
  // Lower halves at which rounding to 16 bits is a tie, or next to a tie, and all zeros and all ones.
  const lower = [0, 1, 0x0fff, 0x1000, 0x1001, 0x2000, 0x3000, 0x7fff, 0x8000, 0x8001, 0xf000, 0xffff]
  for (let i = 0; i < values.length; i++)
    values[i] = width === 2 ? i & 0xffff : (i & 0xffff) * 0x1_0000 + (lower[(i >>> 16) % lower.length] ?? 0)
  return new Uint8Array(values.buffer)
}

/** Smaller chunks than the default, so that a small file has many. `prepare` makes two tensors of the file, which meet inside a chunk. */
const settings = { chunkBytes: mebibyte, pieceBytes: mebibyte / 2 }

for (const [from, to] of [
  ['F32', 'F16'],
  ['BF16', 'F16'],
  ['BF16', 'F32'],
  ['F16', 'F32'],
] as const) {
  test(`promise 12: ${from} is cast to ${to} exactly for every pattern, once, and resumes after a kill`, async ({
    server,
    hub,
  }) => {
    // A file in F32 has every upper half with every lower half (65,536 × 12 values), and then the first half of these values again.
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
    // The second half of the source never arrives, so that the kill happens when half of the file is made.
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
    // One chunk at a time is in memory, whatever the size of the file.
    expect(await hub.call('memoryPeak')).toBe(mebibyte)
    // The file is made once: the second time it is in the cache.
    await hub.call('prepare', weightsPath, from, to)
    expect(await hub.progress(name)).toMatchObject({ cached: expected.length, total: expected.length })
    expect((await hub.call('verify')).bad).toEqual([])
    expect(server.log).toEqual([])
  })
}
