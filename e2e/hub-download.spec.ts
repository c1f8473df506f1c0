/** Issue 3, promises 1 to 3 and 5, 9: parallel, from the Hub, verified, stored once, warm. */

import { createHash } from 'node:crypto'
import { expect, test } from './hub/harness.js'
import { syntheticFile } from './hub-server/repositories.js'

const mebibyte = 1 << 20
const large = syntheticFile(272 * mebibyte + 12_345, 3)
const path = 'unet/diffusion_pytorch_model.safetensors'

async function sha256(file = large): Promise<string> {
  const hash = createHash('sha256')
  for (let at = 0; at < file.size; at += 16 * mebibyte) hash.update(await file.read(at, Math.min(file.size, at + 16 * mebibyte)))
  return hash.digest('hex')
}

test('1, 2, 3, 9: 272 MiB come in parallel, checked, and are there offline', async ({ server, hub }) => {
  server.setRepository('owner/large', { 'model_index.json': '{}', [path]: large })
  server.setFaults({ bytesPerSecond: 20 * mebibyte })
  await hub.call('open', 'owner/large', { endpoint: server.url })
  const began = performance.now()
  expect(await hub.call('load', path)).toEqual([large.size])
  console.log('load', performance.now() - began)
  expect(await hub.call('hash', path)).toBe(await sha256())
  const asked = server.log.filter((entry) => entry.file === path && entry.kind === 'file')
  expect(Math.max(...asked.map((entry) => entry.concurrency))).toBeGreaterThanOrEqual(4)
  expect(asked.reduce((sum, entry) => sum + entry.bytes, 0)).toBe(large.size)
  expect(server.log.filter((entry) => entry.kind === 'resolve')).toHaveLength(1)
  expect(await hub.call('memoryPeak')).toBeLessThanOrEqual(128 * mebibyte)
  expect(await hub.call('trouble')).toEqual([])
  await hub.terminate()
  await server.close()
  await hub.page.reload()
  await hub.call('open', 'owner/large', { endpoint: server.url })
  expect(await hub.call('load', path)).toEqual([large.size])
  expect(await hub.call('hash', path)).toBe(await sha256())
})
