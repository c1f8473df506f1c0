import { expect, it } from 'vitest'
import { ProgressMeter } from './progress-meter.js'
import type { FileProgress } from '../types.js'

it('progress never falls, never exceeds the total, and is not reported for every packet', () => {
  let state = 7
  const random = () => (state = (Math.imul(state, 48271) >>> 0) % 2147483647) / 2147483647
  for (let round = 0; round < 200; round++) {
    const total = Math.floor(random() * 1e9)
    const seen: FileProgress[] = []
    const meter = new ProgressMeter('x', total, (progress) => seen.push(progress))
    for (let k = 0; k < 1000; k++) {
      const dice = random()
      if (dice < 0.005) meter.begin(Math.floor(random() * total))
      else if (dice < 0.02) meter.add(-Math.floor(random() * 1e6))
      else if (dice < 0.025) meter.mirror({ loaded: Math.floor(random() * total * 1.1), total, phase: 'downloading' })
      else meter.add(Math.floor((random() * total) / 400))
    }
    meter.complete()
    for (const [k, event] of seen.entries()) {
      expect(event.loaded).toBeGreaterThanOrEqual(seen[k - 1]?.loaded ?? 0)
      expect(event.loaded).toBeLessThanOrEqual(total)
      expect(event.cached).toBeLessThanOrEqual(event.loaded)
    }
    expect(seen.length).toBeLessThan(150)
    expect(seen.at(-1)).toMatchObject({ loaded: total, total, phase: 'complete' })
  }
})

it('while another tab gets other parts of the file, the file counts as queued and its bytes do not grow', () => {
  const seen: FileProgress[] = []
  const meter = new ProgressMeter('x', 1000, (progress) => seen.push(progress))
  meter.mirror({ loaded: 5000, total: 9000, phase: 'downloading' })
  meter.mirror({ loaded: 9000, total: 9000, phase: 'complete' })
  expect(seen).toEqual([{ path: 'x', loaded: 0, total: 1000, cached: 0, phase: 'queued' }])
  meter.mirror({ loaded: 500, total: 1000, phase: 'downloading' })
  expect(seen.at(-1)).toMatchObject({ loaded: 500, phase: 'downloading' })
})
