import { expect, test } from 'vitest'
import type { FileProgress, PipelineProgress } from '../../../index.js'
import { advance, advanceStep, downloadSpeed, idle, start, stepsTimeLeft, type Activity } from './activity.js'
import { details, fileState, headline, memoryNumbers, memoryPlace } from './activity-words.js'

const file = (path: string, loaded: number, more: Partial<FileProgress> = {}): PipelineProgress => ({
  type: 'file',
  component: 'unet',
  file: { path, loaded, total: 100_000_000, cached: 0, phase: 'downloading', ...more },
})

const state = (progress: Partial<FileProgress>) =>
  fileState({ component: 'unet', path: 'a', loaded: 0, total: 5000, cached: 0, phase: 'queued', ...progress })
const weights = (loaded: number): PipelineProgress => ({ type: 'weights', component: 'text_encoder_2', loaded, total: 8 })

/** The activity after events, one every 500 ms. */
function after(...events: readonly PipelineProgress[]): Activity {
  let now = 1000
  let activity = start(idle(), now, false)
  for (const event of events) activity = advance(activity, event, (now += 500))
  return activity
}
const downloading: PipelineProgress = { type: 'status', phase: 'downloading' }

test('a download shows bytes, speed and time left over all files', () => {
  const activity = after(downloading, file('a', 0), file('b', 0), file('a', 10_000_000), file('b', 10_000_000))
  expect(headline(activity)).toBe('Downloading')
  // 20 MB in the 1.5 s between the first and the last sample, 180 MB to go.
  expect(downloadSpeed(activity)).toBeCloseTo(20_000_000 / 1.5)
  expect(details(activity)).toBe('20 of 200 MB · 13.3 MB/s · 15 s left')
  expect(activity.reached).toMatchObject({ stage: 0, fraction: 0.1 })
})

test('bytes from the cache do not count as speed', () => {
  const activity = after(downloading, file('a', 0), file('a', 90_000_000, { cached: 90_000_000 }))
  expect(downloadSpeed(activity)).toBeUndefined()
  expect(details(activity)).toBe('90 of 100 MB · 90.0 MB cached')
  const whole = after(downloading, file('a', 100_000_000, { cached: 100_000_000, phase: 'complete' }))
  expect(details(whole)).toBe('100 of 100 MB · all cached')
})

test('speed follows the last seconds, not the whole', () => {
  const events = Array.from({ length: 40 }, (_, i) => file('a', i < 20 ? i * 4_000_000 : 76_000_000 + (i - 19) * 100_000))
  expect(downloadSpeed(after(downloading, ...events))).toBeCloseTo(200_000)
})

test('verifying is shown once no file downloads any more', () => {
  const verifying = { phase: 'verifying' } as const
  expect(headline(after(downloading, file('a', 100_000_000, verifying), file('b', 1)))).toBe('Downloading')
  expect(headline(after(downloading, file('a', 100_000_000, verifying)))).toBe('Verifying download')
})

test('a file shows its state and its bytes', () => {
  expect([
    state({}),
    state({ phase: 'downloading', loaded: 2500 }),
    state({ phase: 'verifying', loaded: 5000 }),
    state({ phase: 'complete', loaded: 5000 }),
    state({ phase: 'complete', loaded: 5000, cached: 5000 }),
  ]).toEqual(['5.00 kB, queued', '2.50 of 5.00 kB', '5.00 kB, verifying', '5.00 kB', '5.00 kB, cached'])
})

test('loading weights is shown instead of the phase, until it is done', () => {
  const encoding: PipelineProgress = { type: 'status', phase: 'encoding', component: 'text_encoder_2' }
  expect(headline(after(encoding, weights(2)))).toBe('Loading the second text encoder')
  expect(details(after(encoding, weights(2)))).toBe('2 of 8 B')
  expect(headline(after(encoding, weights(2), weights(8)))).toBe('Encoding the prompt · second text encoder')
})

test('steps show their number and the remaining time', () => {
  let activity = after({ type: 'status', phase: 'denoising', component: 'unet' })
  for (let step = 0; step < 5; step++) activity = advanceStep(activity, { step, total: 20, timestep: 0 }, 10_000 + step * 2000)
  expect(headline(activity)).toBe('Denoising · step 5 of 20')
  expect(stepsTimeLeft(activity)).toBe(30)
  expect(details(activity)).toBe('30 s left')
  expect(activity.reached).toMatchObject({ stage: 2, fraction: 0.25 })
})

test('until the time of a step is known, the details say which step is computed, and whether the CPU computes it', () => {
  const denoising: PipelineProgress = { type: 'status', phase: 'denoising', component: 'unet' }
  const activity = after(denoising, { type: 'weights', component: 'unet', loaded: 8, total: 8 })
  expect([headline(activity), details(activity)]).toEqual(['Denoising', 'Computing the first step'])
  const slow: Activity = { ...activity, device: { kind: 'wasm', budget: undefined } }
  expect(details(slow)).toBe('Computing the first step on the CPU')
  const one = advanceStep(slow, { step: 0, total: 2, timestep: 0 }, 9000)
  expect([headline(one), details(one)]).toEqual(['Denoising · step 1 of 2', 'Computing step 2 on the CPU'])
  expect(details(advanceStep(activity, { step: 0, total: 1, timestep: 0 }, 9000))).toBe('')
})

test('the memory figures stay after the run', () => {
  const memory = { weights: 3_000_000, activations: 0, peakWeights: 3_000_000, peakActivations: 0 }
  const gone = { ...memory, weights: 0 }
  const activity = after({
    type: 'memory',
    memory: {
      live: 3_000_000,
      peak: 5_000_000,
      liveWeights: 3_000_000,
      peakWeights: 5_000_000,
      components: { unet: memory, vae: gone },
      devices: {},
    },
  })
  expect(memoryPlace(idle(activity))).toBe('On the GPU: UNet')
  expect(memoryNumbers(idle(activity))).toBe('3.00 MB in use · peak 5.00 MB')
  const within = { ...activity, device: { kind: 'webgpu', budget: 6e9 } } as const
  expect(memoryNumbers(idle(within))).toBe('3.00 MB in use · peak 5.00 MB · budget 6.00 GB')
  expect(memoryPlace({ ...activity, device: { kind: 'wasm', budget: undefined } })).toBe('In memory: UNet')
})

test('a warning is kept once', () => {
  const warning: PipelineProgress = { type: 'warning', code: 'prompt-truncated', message: 'The prompt was cut.' }
  expect(after(warning, warning).warnings).toEqual(['The prompt was cut.'])
})
