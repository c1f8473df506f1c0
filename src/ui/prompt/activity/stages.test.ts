import { expect, test } from 'vitest'
import type { FileProgress, PipelineProgress } from '../../../index.js'
import { advance, advanceStep, idle, start, type Activity } from './activity.js'
import { filled, startReached } from './stages.js'

const status = (phase: Extract<PipelineProgress, { type: 'status' }>['phase']): PipelineProgress => ({ type: 'status', phase })
const file = (path: string, loaded: number, more: Partial<FileProgress> = {}): PipelineProgress => ({
  type: 'file',
  component: 'unet',
  file: { path, loaded, total: 100, cached: 0, phase: 'downloading', ...more },
})
const weights = (component: string, loaded: number): PipelineProgress => ({ type: 'weights', component, loaded, total: 8 })
const step = (index: number) => ({ step: index, total: 4, timestep: 0 })
type Event = PipelineProgress | ReturnType<typeof step>

/** The progress as one number: the index of the stage plus the fraction of it that is done. */
const place = ({ reached: { stage, fraction = 0 } }: Activity) => stage + fraction

/** The progress numbers after each event. */
function places(hasModel: boolean, events: readonly Event[]): number[] {
  let activity = start(idle(), 0, hasModel)
  return events.map((event, now) => {
    activity = 'timestep' in event ? advanceStep(activity, event, now) : advance(activity, event, now)
    return place(activity)
  })
}

const isRising = (numbers: readonly number[]) =>
  numbers.every((number, index) => index === 0 || number >= (numbers[index - 1] ?? 0))

test('a load: a file that is found later and a damaged chunk do not shorten the bar', () => {
  const seen = places(false, [
    status('resolving'),
    status('downloading'),
    file('a', 60),
    file('b', 0),
    file('a', 100),
    file('a', 40, { phase: 'downloading' }),
    file('a', 100, { phase: 'complete' }),
    file('b', 100, { phase: 'complete' }),
    status('ready'),
  ])
  expect(seen).toEqual([0, 0, 0.6, 0.6, 0.6, 0.6, 0.6, 1, 1])
})

test('a generation: weights are a part of their stage, and the stage ends full', () => {
  const seen = places(true, [
    status('encoding'),
    weights('text_encoder', 0),
    weights('text_encoder', 8),
    weights('text_encoder_2', 0),
    weights('text_encoder_2', 4),
    weights('text_encoder_2', 8),
    status('denoising'),
    weights('unet', 0),
    weights('unet', 8),
    step(0),
    step(3),
    status('decoding'),
    weights('vae', 8),
    status('complete'),
  ])
  expect(isRising(seen)).toBe(true)
  expect(seen.slice(0, 6)).toEqual([1, 1, 1.5, 1.5, 1.625, 1.75])
  expect(seen[8]).toBeCloseTo(2.1)
  expect(seen[9]).toBeCloseTo(2.325)
  expect(seen[10]).toBe(3)
  expect(seen.slice(11)).toEqual([3, 3.5, 5])
})

test('a lost GPU repeats stages and loads; the bar waits until they have caught up', () => {
  const seen = places(true, [
    status('denoising'),
    weights('unet', 8),
    step(0),
    step(1),
    status('resolving'),
    file('a', 1),
    status('encoding'),
    weights('text_encoder', 8),
    status('denoising'),
    weights('unet', 0),
    weights('unet', 8),
    step(1),
    step(2),
    step(3),
  ])
  expect(isRising(seen)).toBe(true)
  expect(seen.at(-1)).toBe(3)
})

test('a run with a loaded model starts after the download stage', () => {
  expect(place(start(idle(), 0, true))).toBe(1)
  expect(start(idle(), 0, false).reached).toEqual(startReached(false))
})

const bars = (activity: Activity) => [0, 1, 2, 3].map((index) => filled(activity.reached, index))

test('after the end, the bars show a finished run or a loaded model, and no cancelled run', () => {
  const denoising = advanceStep(advance(start(idle(), 0, true), status('denoising'), 1), step(0), 2)
  expect(bars(denoising)).toEqual([1, 1, 0.25, 0])
  expect(bars(idle(denoising, true))).toEqual([1, 0, 0, 0])
  expect(bars(idle(advance(denoising, status('complete'), 3), true))).toEqual([1, 1, 1, 1])
  const loading = advance(advance(start(idle(), 0, false), status('downloading'), 1), file('a', 60), 2)
  expect(bars(loading)).toEqual([0.6, 0, 0, 0])
  expect(bars(idle(loading))).toEqual([0, 0, 0, 0])
})
