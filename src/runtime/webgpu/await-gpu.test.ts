import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { awaitGpu } from './await-gpu.js'

beforeEach(() => vi.useFakeTimers())
afterEach(() => vi.useRealTimers())

test('while work is awaited, empty submissions follow at growing intervals of at most 25 ms; then they end', async () => {
  const end = new EventTarget()
  const work = new Promise<string>((resolve) => end.addEventListener('done', ({ type }) => resolve(type)))
  const begin = Date.now()
  const submissions: number[] = []
  const done = awaitGpu(work, () => submissions.push(Date.now() - begin))
  await vi.advanceTimersByTimeAsync(110)
  expect(submissions).toEqual([1, 3, 7, 15, 31, 56, 81, 106])
  end.dispatchEvent(new Event('done'))
  expect(await done).toBe('done')
  await vi.advanceTimersByTimeAsync(1000)
  expect(submissions).toHaveLength(8)
  expect(vi.getTimerCount()).toBe(0)
})

test('a failure of the awaited work ends the empty submissions too', async () => {
  const failed = awaitGpu(Promise.reject(new Error('lost')), () => {})
  await expect(failed).rejects.toThrow('lost')
  expect(vi.getTimerCount()).toBe(0)
})
