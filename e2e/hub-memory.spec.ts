/**
 * Promise 13 of docs/downloads.md: downloading, casting and quantizing stay within 256 MB above idle. Measured: 120 to 170 MB (96 MiB in
 * flight, the browser's copies of two chunks that are hashed and stored, and garbage). A file and its result together are larger than the
 * limit, so they cannot both be in memory as a whole. The memory is that of the page's process in Linux, in a
 * browser without DevTools, which would keep downloaded bytes.
 */

import { blocksOfT5, virtualCheckpoint } from '../bench/quantize/virtual-checkpoint.js'
import { renderersOf, watchPeak } from '../bench/renderer-memory.js'
import { elementCount } from '../src/util/element-count.js'
import { mebibyte, weightsPath } from './hub/files.js'
import { expect, test } from './hub/harness.js'
import { openUnwatchedPage } from './hub/unwatched-page.js'
import { syntheticFile } from './hub-server/repositories.js'

const id = 'owner/t5'
/** One block of T5-xxl in float16: 386 MB. */
const weights = blocksOfT5(1)
const parameters = weights.reduce((sum, [, shape]) => sum + elementCount(shape), 0)
const limit = 256e6

/** If this file and its smallest cast, to F16, were in memory as a whole, they would exceed the limit. */
const large = syntheticFile(192 * mebibyte, 3)
const casts = [
  ['F32', 'F16'],
  ['BF16', 'F16'],
  ['F16', 'F32'],
] as const

test.skip(process.platform !== 'linux', 'The memory of a process is read from /proc.')

test.describe('promise 13: memory above idle', () => {
  test.use({ serverOptions: { repositories: { [id]: virtualCheckpoint(weights, 1e9) } } })

  for (const [what, methods] of [
    ['of a download, and of quantizing what is here', ['fill', 'q4']],
    ['of quantizing what is being downloaded', ['arriving']],
  ] as const) {
    test(what, async ({ server }) => {
      const page = await openUnwatchedPage('../../bench/quantize/worker.ts')
      try {
        await page.call('ready')
        const peak = watchPeak(renderersOf(page.profile))
        for (const method of methods) {
          const { bytes } = await page.call<{ bytes: number }>(method, id, server.url)
          // `fill` returns all bytes; the other methods return the bytes of the quantized copy's codes and scales. A few norms and a header
          // add less than 1 %.
          const expected = method === 'fill' ? 2 * parameters : (parameters * 18) / 32
          expect(bytes, method).toBeGreaterThan(0.99 * expected)
          expect(bytes, method).toBeLessThan(1.01 * expected)
          test.info().annotations.push({ type: 'peak', description: `${method}: ${(peak() / 1e6).toFixed(0)} MB` })
          // A peak below one chunk would mean that nothing was measured.
          expect(peak(), method).toBeGreaterThan(16e6)
          expect(peak(), method).toBeLessThanOrEqual(limit)
        }
      } finally {
        await page.close()
      }
    })
  }

  test('of casts', async ({ server }) => {
    server.setRepository('owner/large', { [weightsPath]: large })
    const page = await openUnwatchedPage('../pages/hub-worker.ts')
    try {
      const open = async () => {
        await page.call('open', 'owner/large', { endpoint: server.url })
        await page.call('load', weightsPath)
      }
      await open()
      for (const [from, to] of casts) {
        // The memory at idle is measured on a page that has downloaded nothing, because a download leaves memory behind.
        await page.restart()
        await open()
        const peak = watchPeak(renderersOf(page.profile))
        await page.call('prepare', weightsPath, from, to)
        const what = `${from} to ${to}`
        test.info().annotations.push({ type: 'peak', description: `${what}: ${(peak() / 1e6).toFixed(0)} MB` })
        expect(peak(), what).toBeGreaterThan(16e6)
        expect(peak(), what).toBeLessThanOrEqual(limit)
      }
    } finally {
      await page.close()
    }
  })
})
