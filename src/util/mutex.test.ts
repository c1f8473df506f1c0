import { expect, test } from 'vitest'
import { Mutex } from './mutex.js'

test('tasks run one at a time, in order, also after a failure', async () => {
  const mutex = new Mutex()
  const log: string[] = []
  const task = (name: string, fails = false) =>
    mutex.run(async () => {
      log.push(`${name} in`)
      await Promise.resolve()
      log.push(`${name} out`)
      if (fails) throw new Error(name)
      return name
    })
  const results = await Promise.allSettled([task('a'), task('b', true), task('c')])
  expect(log).toEqual(['a in', 'a out', 'b in', 'b out', 'c in', 'c out'])
  expect(results.map((result) => result.status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
})

test('an aborted task leaves the queue, and later tasks still wait for the one that runs', async () => {
  const mutex = new Mutex()
  const log: string[] = []
  let finish: (() => void) | undefined
  const first = mutex.run(async () => {
    await new Promise<void>((resolve) => {
      finish = resolve
    })
    log.push('first')
  })
  const controller = new AbortController()
  const second = mutex.run(async () => log.push('second'), controller.signal)
  const third = mutex.run(async () => log.push('third'))
  controller.abort()
  await expect(second).rejects.toThrow(/abort/)
  expect(log).toEqual([])
  finish?.()
  await Promise.all([first, third])
  expect(log).toEqual(['first', 'third'])
})
