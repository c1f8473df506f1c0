import { expect, test } from 'vitest'
import { EventRelay } from './event-relay.js'
import type { EngineEvent } from './protocol.js'

const file = (path: string, loaded: number): EngineEvent => ({
  type: 'progress',
  progress: { type: 'file', component: 'unet', file: { path, loaded, total: 100, cached: 0, phase: 'downloading' } },
})
const step = (n: number): EngineEvent => ({ type: 'step', step: { step: n, total: 3, timestep: n } })
const weights = (loaded: number): EngineEvent => ({
  type: 'progress',
  progress: { type: 'weights', component: 'unet', loaded, total: 9 },
})
const phase: EngineEvent = { type: 'progress', progress: { type: 'status', phase: 'denoising' } }

test('a newer event replaces an older one, and moves to the end of the batch', async () => {
  const batches: (readonly EngineEvent[])[] = []
  const relay = new EventRelay((batch) => void batches.push(batch), 0)
  relay.push(file('a', 1))
  relay.push(file('b', 1))
  relay.push(file('a', 2))
  relay.push(file('c', 1))
  await relay.finish()
  expect(batches).toEqual([[file('b', 1), file('a', 2), file('c', 1)]])
})

test('steps, phases, and the start and the end of loading are sent before the worker continues, each after what was waiting', async () => {
  const batches: (readonly EngineEvent[])[] = []
  // This receiver confirms no batch until the test lets it, like a page that is busy.
  const taken: (() => void)[] = []
  const relay = new EventRelay((batch) => {
    batches.push(batch)
    return new Promise<void>((resolve) => {
      taken.push(resolve)
    })
  })
  relay.push(phase)
  relay.push(weights(0))
  relay.push(weights(4))
  relay.push(weights(9))
  relay.push(step(0))
  relay.push(file('a', 1))
  relay.push(step(1))
  expect(batches).toEqual([[phase], [weights(0)], [weights(4), weights(9)], [step(0)], [file('a', 1), step(1)]])
  const done = relay.finish()
  let received = false
  void done.then(() => (received = true))
  for (const take of taken.slice(1)) take()
  await new Promise((resolve) => setImmediate(resolve))
  expect(received).toBe(false)
  taken[0]?.()
  await done
  expect(batches).toHaveLength(5)
})

test('events that can wait are sent one batch at a time', async () => {
  const sizes: number[] = []
  const taken: (() => void)[] = []
  const relay = new EventRelay((batch) => {
    sizes.push(batch.length)
    return new Promise<void>((resolve) => {
      taken.push(resolve)
    })
  }, 0)
  relay.push(file('a', 1))
  await expect.poll(() => sizes).toEqual([1])
  relay.push(file('b', 1))
  relay.push(file('c', 1))
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
  relay.push(file('a', 1))
  await expect.poll(() => count).toBe(1)
  relay.push(file('a', 2))
  await relay.finish()
  expect(count).toBe(2)
  relay.push(step(2))
  await relay.finish()
  expect(count).toBe(2)
})

test('a receiver that fails does not fail the call, and gets nothing more', async () => {
  let count = 0
  const relay = new EventRelay(() => Promise.reject(new Error(`gone ${++count}`)), 0)
  relay.push(file('a', 1))
  await expect.poll(() => count).toBe(1)
  relay.push(step(0))
  await expect(relay.finish()).resolves.toBeUndefined()
  expect(count).toBe(1)
})
