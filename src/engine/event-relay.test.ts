import { expect, test } from 'vitest'
import { EventRelay } from './event-relay.js'
import type { EngineEvent } from './protocol.js'

const file = (path: string, loaded: number): EngineEvent => ({
  type: 'progress',
  progress: { type: 'file', component: 'unet', file: { path, loaded, total: 100, cached: 0, phase: 'downloading' } },
})
const step = (n: number): EngineEvent => ({ type: 'step', step: { step: n, total: 3, timestep: n } })

test('a newer event replaces an older one, and moves to the end of the batch', async () => {
  const batches: (readonly EngineEvent[])[] = []
  const relay = new EventRelay((batch) => void batches.push(batch), 0)
  relay.push(file('a', 1))
  relay.push(file('b', 1))
  relay.push(step(0))
  relay.push(file('a', 2))
  relay.push(step(1))
  await relay.finish()
  expect(batches).toEqual([[file('b', 1), step(0), file('a', 2), step(1)]])
})

test('one batch is sent at a time: events that arrive meanwhile wait', async () => {
  const sizes: number[] = []
  const taken: (() => void)[] = []
  const relay = new EventRelay((batch) => {
    sizes.push(batch.length)
    return new Promise<void>((resolve) => {
      taken.push(resolve)
    })
  }, 0)
  relay.push(step(0))
  await expect.poll(() => sizes).toEqual([1])
  relay.push(step(1))
  relay.push(step(2))
  const done = relay.finish()
  taken.pop()?.()
  await expect.poll(() => sizes).toEqual([1, 2])
  taken.pop()?.()
  await done
})

test('finish does not wait for the interval, and nothing is sent after it', async () => {
  let count = 0
  const relay = new EventRelay((batch) => {
    count += batch.length
  }, 1_000_000)
  relay.push(step(0))
  await expect.poll(() => count).toBe(1)
  relay.push(step(1))
  await relay.finish()
  expect(count).toBe(2)
  relay.push(step(2))
  await relay.finish()
  expect(count).toBe(2)
})

test('a failing receiver does not fail the call', async () => {
  const relay = new EventRelay(() => Promise.reject(new Error('gone')), 0)
  relay.push(step(0))
  await expect(relay.finish()).resolves.toBeUndefined()
})
