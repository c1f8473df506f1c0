import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { MemoryAccount } from './memory-account.js'
import type { MemorySnapshot } from './types.js'

beforeEach(() => vi.useFakeTimers())
afterEach(() => vi.useRealTimers())

test('counts live and peak bytes by owner and purpose', () => {
  const account = new MemoryAccount()
  const weights = account.allocate('unet', 'weights', 100)
  const scratch = account.allocate('unet', 'activations', 30)
  account.allocate('vae', 'weights', 7)
  weights.release()
  weights.release()
  expect(account.snapshot()).toEqual({
    live: 37,
    peak: 137,
    liveWeights: 7,
    peakWeights: 107,
    components: {
      unet: { weights: 0, activations: 30, peakWeights: 100, peakActivations: 30 },
      vae: { weights: 7, activations: 0, peakWeights: 7, peakActivations: 0 },
    },
  })
  scratch.transfer('vae')
  expect(account.snapshot().components['vae']).toMatchObject({ weights: 7, activations: 30 })
  expect(account.snapshot().peak).toBe(137)
  account.resetPeaks()
  expect(account.snapshot()).toMatchObject({ peak: 37, peakWeights: 7 })
  expect(Object.keys(account.snapshot().components)).toEqual(['vae'])
  account.releaseAll()
  expect(account.snapshot()).toMatchObject({ live: 0, liveWeights: 0 })
})

test('a subscriber is called at most once in the interval, and always after the last change', () => {
  const account = new MemoryAccount()
  const heard: MemorySnapshot[] = []
  const end = account.subscribe((snapshot) => heard.push(snapshot), 50)
  const made = [1, 2, 3].map((bytes) => account.allocate('x', 'activations', bytes))
  expect(heard).toEqual([])
  vi.advanceTimersByTime(0)
  expect(heard.map((snapshot) => snapshot.live)).toEqual([6])
  for (const allocation of made) allocation.release()
  vi.advanceTimersByTime(49)
  expect(heard).toHaveLength(1)
  vi.advanceTimersByTime(1)
  expect(heard.map((snapshot) => snapshot.live)).toEqual([6, 0])
  vi.advanceTimersByTime(500)
  expect(heard).toHaveLength(2)
  end()
  account.allocate('x', 'activations', 1)
  vi.advanceTimersByTime(500)
  expect(heard).toHaveLength(2)
})

test('a subscriber is called soon after weights are loaded and freed, however short they stay', async () => {
  const account = new MemoryAccount()
  const heard: number[] = []
  account.subscribe(({ liveWeights }) => heard.push(liveWeights), 50)
  const encoder = account.allocate('text_encoder', 'weights', 4)
  expect(heard).toEqual([])
  await Promise.resolve()
  encoder.release()
  await Promise.resolve()
  const unet = [account.allocate('unet', 'weights', 6), account.allocate('unet', 'weights', 2)]
  await Promise.resolve()
  expect(heard).toEqual([4, 0, 8])
  // Further changes of the same component are reported only when the subscription's interval has passed.
  unet[0]?.release()
  vi.advanceTimersByTime(40)
  expect(heard).toEqual([4, 0, 8])
  vi.advanceTimersByTime(10)
  expect(heard).toEqual([4, 0, 8, 2])
})

test('the account of several devices counts the memory of each, and has peaks of its own', () => {
  const total = new MemoryAccount()
  const [gpu, cpu] = [new MemoryAccount(total), new MemoryAccount(total)]
  const encoder = cpu.allocate('text_encoder', 'weights', 40)
  encoder.release()
  gpu.allocate('unet', 'weights', 100)
  cpu.allocate('vae', 'weights', 8).transfer('text_encoder')
  expect(gpu.snapshot()).toMatchObject({ live: 100, peak: 100 })
  expect(cpu.snapshot()).toMatchObject({ live: 8, peak: 40 })
  expect(total.snapshot()).toMatchObject({ live: 108, peak: 108, liveWeights: 108, peakWeights: 108 })
  expect(total.snapshot().components['text_encoder']).toMatchObject({ weights: 8, peakWeights: 40 })
  gpu.releaseAll()
  expect(total.live).toBe(8)
})
