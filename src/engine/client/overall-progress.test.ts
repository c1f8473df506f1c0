/** The overall progress of loads and generations: it never falls, ends at 1, and estimates the time that is left. */

import { expect, test } from 'vitest'
import type { FileProgress } from '../../hub/types.js'
import type { PipelineProgress } from '../../pipelines/types.js'
import { generationMeter, loadMeter, type OverallMeter } from './overall-progress.js'

const file = (component: string, path: string, loaded: number, more: Partial<FileProgress> = {}): PipelineProgress => ({
  type: 'file',
  component,
  file: { path, loaded, total: 100, cached: 0, phase: 'downloading', ...more },
})
const downloading: PipelineProgress = { type: 'status', phase: 'downloading', components: ['unet', 'vae'] }

/** The reports of events that arrive one second apart. */
function reports(meter: OverallMeter, events: readonly PipelineProgress[]) {
  return events.map((event, i) => meter(event, 1000 * i))
}

/** Checks that the fractions never fall, and that the last one is the only 1. */
function expectToRise(fractions: readonly number[]): void {
  expect(fractions).toEqual(fractions.toSorted((a, b) => a - b))
  expect(fractions.at(-1)).toBe(1)
  expect(fractions.at(-2)).toBeLessThan(1)
}

test('a load counts the bytes of all files together', () => {
  const seen = reports(loadMeter(), [
    { type: 'status', phase: 'resolving' },
    downloading,
    file('vae', 'a', 50),
    file('unet', 'b', 0, { total: 300 }),
    file('unet', 'b', 150, { total: 300 }),
    file('vae', 'a', 100, { phase: 'complete' }),
    file('unet', 'b', 300, { total: 300, phase: 'verifying' }),
    { type: 'status', phase: 'ready' },
  ])
  expectToRise(seen.map(({ fraction }) => fraction))
  expect(seen.map(({ loadedBytes }) => loadedBytes)).toEqual([0, 0, 50, 50, 200, 250, 400, 400])
  expect(seen[4]).toMatchObject({ type: 'file', component: 'unet', totalBytes: 400, fraction: 0.99 / 2 })
})

test('a load has the fraction 0 until each component has named its files, even if all known files are complete', () => {
  const seen = reports(loadMeter(), [downloading, file('vae', 'a', 100, { cached: 100, phase: 'complete' })])
  expect(seen.map(({ fraction, secondsLeft }) => [fraction, secondsLeft])).toEqual([
    [0, undefined],
    [0, undefined],
  ])
})

test('progress stays where it is when a later file makes the total larger', () => {
  const seen = reports(loadMeter(), [
    { ...downloading, components: ['unet'] },
    file('unet', 'a', 80),
    file('unet', 'unet (q8)', 0, { total: 900 }),
    file('unet', 'a', 100),
    file('unet', 'unet (q8)', 900, { total: 900 }),
    { type: 'status', phase: 'ready' },
  ])
  expectToRise(seen.map(({ fraction }) => fraction))
  expect(seen[2]?.fraction).toBe(seen[1]?.fraction)
})

test('the time left follows from the speed of the network alone: cached bytes do not count', () => {
  const whole = { cached: 100, phase: 'complete' } as const
  const seen = reports(loadMeter(), [downloading, file('vae', 'a', 100, whole), file('unet', 'b', 0), file('unet', 'b', 20)])
  // 80 of 100 bytes are missing, and 20 arrived in two seconds.
  expect(seen.map(({ secondsLeft }) => secondsLeft)).toEqual([undefined, undefined, undefined, 8])
})

const step = (i: number): PipelineProgress => ({ type: 'step', step: i, total: 4 })
const generation: readonly PipelineProgress[] = [
  { type: 'status', phase: 'encoding' },
  { type: 'weights', component: 'text_encoder', loaded: 0, total: 8 },
  { type: 'weights', component: 'text_encoder', loaded: 8, total: 8 },
  { type: 'status', phase: 'denoising' },
  { type: 'weights', component: 'unet', loaded: 4, total: 8 },
  { type: 'weights', component: 'unet', loaded: 8, total: 8 },
  step(0),
  // The blocks of a streamed network are loaded again in each step.
  { type: 'weights', component: 'unet', loaded: 2, total: 8 },
  step(1),
  step(2),
  step(3),
  { type: 'status', phase: 'decoding' },
  { type: 'weights', component: 'vae', loaded: 8, total: 8 },
  { type: 'status', phase: 'complete' },
]

test('the fraction rises through the phases of a generation, by the same amount in each step', () => {
  const seen = reports(generationMeter(4), generation)
  const fractions = seen.map(({ fraction }) => fraction)
  expectToRise(fractions)
  const steps = seen.flatMap(({ type, fraction }) => (type === 'step' ? [fraction] : []))
  const gains = steps.slice(1).map((fraction, i) => fraction - (steps[i] ?? 0))
  for (const gain of gains) expect(gain).toBeCloseTo(0.85 / 5, 10)
  expect(steps.at(-1)).toBeCloseTo(0.9, 10)
})

test('the time left of a generation is that of the steps and the decoding', () => {
  const left = reports(generationMeter(4), generation).map(({ secondsLeft }) => secondsLeft)
  expect(left[6]).toBeUndefined()
  // Steps 0 and 1 were two seconds apart. The two steps that are left take four seconds, and the decoding a little under one.
  expect(left[8]).toBeCloseTo(4 + 2 * 4 * (0.1 / 0.85), 10)
  expect(left[13]).toBe(0)
})

test('a generation from an image runs fewer steps than requested, and its progress reaches 1 as well', () => {
  const events: PipelineProgress[] = [
    { type: 'status', phase: 'denoising' },
    step(0),
    step(3),
    { type: 'status', phase: 'complete' },
  ]
  const fractions = reports(generationMeter(20), events).map(({ fraction }) => fraction)
  expectToRise(fractions)
  expect(fractions[2]).toBeCloseTo(0.9, 10)
})
