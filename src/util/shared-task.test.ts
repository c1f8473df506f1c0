/** A shared task: who receives its progress, when it stops, and when its value is disposed. */

import { expect, test } from 'vitest'
import { deferred } from './deferred.js'
import { SharedTask } from './shared-task.js'

/** A task that the test ends, and a record of how it ended. */
function controlled() {
  const { promise, resolve } = deferred()
  const disposed: string[] = []
  let signal: AbortSignal | undefined
  let report: ((progress: number) => void) | undefined
  const task = new SharedTask<string, number>(
    async (given, onProgress) => {
      signal = given
      report = onProgress
      await promise
      return 'value'
    },
    (value) => Promise.resolve(void disposed.push(value)),
  )
  return { task, finish: resolve, disposed, report: (progress: number) => report?.(progress), isAborted: () => signal?.aborted }
}

test('every caller receives the progress and the value; the last one to release the value disposes it', async () => {
  const { task, finish, disposed, report, isAborted } = controlled()
  const heard: string[] = []
  const first = task.join({ onProgress: (progress) => heard.push(`first ${progress}`) })
  const second = task.join({ onProgress: (progress) => heard.push(`second ${progress}`) })
  report(1)
  finish()
  const shares = await Promise.all([first, second])
  expect(heard).toEqual(['first 1', 'second 1'])
  expect(shares.map(({ value }) => value)).toEqual(['value', 'value'])
  await shares[0].leave()
  await shares[0].leave()
  expect([task.stopped, disposed]).toEqual([false, []])
  await shares[1].leave()
  expect([task.stopped, isAborted(), disposed]).toEqual([true, true, ['value']])
})

test('a caller that aborts leaves the task to the others; the last one stops it', async () => {
  const { task, finish, disposed } = controlled()
  const [leaving, last] = [new AbortController(), new AbortController()]
  const first = task.join({ signal: leaving.signal })
  const second = task.join({ signal: last.signal })
  leaving.abort()
  await expect(first).rejects.toMatchObject({ name: 'AbortError' })
  expect(task.stopped).toBe(false)
  last.abort()
  await expect(second).rejects.toMatchObject({ name: 'AbortError' })
  expect(task.stopped).toBe(true)
  // The task finishes although it was stopped. The shared task disposes the value, which no caller has received.
  finish()
  await task.stop()
  expect(disposed).toEqual(['value'])
})

test('a failure reaches every caller', async () => {
  const task = new SharedTask<never, never>(() => Promise.reject(new TypeError('broken')))
  await expect(Promise.all([task.join({}), task.join({})])).rejects.toThrow('broken')
  expect(task.stopped).toBe(true)
})
