import { expect, test } from 'vitest'
import { processorThreads } from './processor-threads.js'

const threads = (crossOriginIsolated: boolean, hardwareConcurrency: number) =>
  processorThreads({ crossOriginIsolated, SharedArrayBuffer, navigator: { hardwareConcurrency } })

test('there are as many threads as cores, up to 8, and one where memory cannot be shared', () => {
  expect([1, 2, 8, 32].map((cores) => threads(true, cores))).toEqual([1, 2, 8, 8])
  expect(threads(false, 8)).toBe(1)
  // WebKitGTK isolates pages, but has no shared memory.
  expect(processorThreads({ crossOriginIsolated: true, navigator: { hardwareConcurrency: 8 } })).toBe(1)
  // A browser that hides the number of cores may report 0.
  expect(threads(true, 0)).toBe(1)
})
