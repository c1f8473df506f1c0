import { expect, test } from 'vitest'
import { LossWatch } from './loss-watch.js'

test('work settles as it does, and leaves nothing behind', async () => {
  const watch = new LossWatch()
  for (let run = 0; run < 100; run++) {
    expect(await watch.race(Promise.resolve(run))).toBe(run)
    await expect(watch.race(Promise.reject(new Error(`run ${run}`)))).rejects.toThrow(`run ${run}`)
  }
  expect(watch.size).toBe(0)
})

test('a loss ends all that waits, and what begins later', async () => {
  const watch = new LossWatch()
  const waits = [1, 2].map(() => watch.race(new Promise(() => {})).catch((error: unknown) => error))
  expect(watch.size).toBe(2)
  const loss = new Error('lost')
  watch.end(loss)
  expect(await Promise.all(waits)).toEqual([loss, loss])
  expect(watch.size).toBe(0)
  await expect(watch.race(new Promise(() => {}))).rejects.toBe(loss)
  expect(watch.size).toBe(0)
})
