/** Issue 3, promise 12: tensors are converted on the way into prepared chunks, once, in bounded memory, and that can be resumed. */

import { createHash } from 'node:crypto'
import { mebibyte, weightsPath } from './hub/files.js'
import { expect, test } from './hub/harness.js'
import { syntheticFile } from './hub-server/repositories.js'

const file = syntheticFile(48 * mebibyte, 5)

/** Hash of the file's bfloat16 values as float32: the same bits with sixteen zeros below them. */
async function widened(): Promise<string> {
  const source = new Uint16Array((await file.read(0, file.size)).slice().buffer)
  const target = new Uint32Array(source.length)
  for (let i = 0; i < source.length; i++) target[i] = source[i]! * 0x1_0000
  return createHash('sha256').update(new Uint8Array(target.buffer)).digest('hex')
}

test('12: BF16 becomes F32 in prepared chunks, once, and goes on where it was killed', async ({ server, hub }) => {
  server.setRepository('owner/name', { [weightsPath]: file })
  await hub.call('open', 'owner/name', { endpoint: server.url })
  await hub.call('load', weightsPath)
  hub.call('prepare', weightsPath).catch(() => {})
  await hub.reaches('prepared', 60 * mebibyte)
  await hub.terminate()
  await hub.page.reload()
  server.clearLog()
  await hub.call('open', 'owner/name', { endpoint: server.url })
  await hub.call('load', weightsPath)
  expect(await hub.call('prepare', weightsPath)).toBe(await widened())
  // Three chunks of 16 MiB were stored before the end.
  expect((await hub.progress('prepared')).cached).toBeGreaterThanOrEqual(48 * mebibyte)
  expect(await hub.call('memoryPeak')).toBe(16 * mebibyte)
  expect(await hub.call('prepare', weightsPath)).toBe(await widened())
  expect((await hub.progress('prepared')).cached).toBe(2 * file.size)
  expect(server.log).toEqual([])
})
