/**
 * One number for a whole load, and one for a whole generation, computed from the events of its parts. Pure: the caller passes each event and
 * the time at which it arrived.
 */

import type { PipelinePhase, PipelineProgress, StepInfo } from '../../pipelines/types.js'

/** How far a whole load or a whole generation is. */
export interface OverallProgress {
  /** The part that is done, 0 to 1. Never falls. It is 1 with the last event: `ready` of a load, `complete` of a generation. */
  readonly fraction: number
  /** In a load, the bytes of weight files that have arrived so far, including those from the cache; 0 in a generation. Never falls. */
  readonly loadedBytes: number
  /** In a load, the bytes of all weight files whose size is known; 0 in a generation. */
  readonly totalBytes: number
  /** The estimated seconds until the end, from the speed so far; undefined while there is too little to estimate from. */
  readonly secondsLeft?: number | undefined
}

/** A progress event with the progress of the whole load or generation. */
export type ProgressReport = PipelineProgress & OverallProgress

/** Adds the overall progress to an event. `now` is in milliseconds of any clock. */
export type OverallMeter = (event: PipelineProgress, now: number) => ProgressReport

/** The speed of a download is averaged over this many milliseconds. */
const window = 5000
/** A speed measured over less time than this, in milliseconds, is not reported. */
const shortest = 500
/** The largest fraction that downloaded files can reach. The rest is for opening the model on its devices. */
const filesEnd = 0.99

/** A file of a load. */
interface FileBytes {
  readonly loaded: number
  readonly total: number
  readonly cached: number
}

/** Measures a load by the bytes of its weight files, which take almost all of its time. */
export function loadMeter(): OverallMeter {
  const files = new Map<string, FileBytes>()
  /** Components of which no file has been reported yet. The total is unknown as long as there are any. */
  let unknown: ReadonlySet<string> = new Set()
  let fraction = 0
  let loadedBytes = 0
  let samples: readonly (readonly [at: number, fetched: number])[] = []
  return (event, now) => {
    if (event.type === 'status' && event.components !== undefined) unknown = new Set(event.components)
    if (event.type === 'file') {
      const { path, loaded, total, cached } = event.file
      files.set(`${event.component} ${path}`, { loaded, total, cached })
      unknown = new Set([...unknown].filter((component) => component !== event.component))
    }
    const sums = sumOf(files)
    loadedBytes = Math.max(loadedBytes, sums.loaded)
    const isReady = event.type === 'status' && event.phase === 'ready'
    if (isReady) fraction = 1
    else if (unknown.size === 0 && sums.total > 0) fraction = Math.max(fraction, (filesEnd * sums.loaded) / sums.total)
    if (event.type === 'file') {
      // Keep one sample that is older than the window, so that a slow download has two samples too.
      const older = samples.findLast(([at]) => at < now - window)
      const recent = samples.filter(([at]) => at >= now - window)
      samples = [...(older === undefined ? [] : [older]), ...recent, [now, sums.loaded - sums.cached]]
    }
    const secondsLeft = isReady ? 0 : unknown.size > 0 ? undefined : secondsFor(sums.total - sums.loaded, samples)
    return { ...event, fraction, loadedBytes, totalBytes: sums.total, secondsLeft }
  }
}

function sumOf(files: ReadonlyMap<string, FileBytes>): FileBytes {
  let [loaded, total, cached] = [0, 0, 0]
  for (const file of files.values()) {
    loaded += file.loaded
    total += file.total
    cached += file.cached
  }
  return { loaded, total, cached }
}

function secondsFor(bytes: number, samples: readonly (readonly [number, number])[]): number | undefined {
  const [first, last] = [samples[0], samples.at(-1)]
  if (bytes === 0) return 0
  if (first === undefined || last === undefined || last[0] - first[0] < shortest || last[1] <= first[1]) return undefined
  return (bytes * (last[0] - first[0])) / (last[1] - first[1]) / 1000
}

/** Where each phase begins and ends, as fractions of the whole generation. */
const shares: Readonly<Partial<Record<PipelinePhase, readonly [begin: number, end: number]>>> = {
  encoding: [0, 0.05],
  denoising: [0.05, 0.9],
  decoding: [0.9, 1],
}
/** The time of the decoding, as a fraction of the time of all steps: the ratio of their {@link shares}. */
const decodingPerDenoising = 0.1 / 0.85

/**
 * Measures a generation of `steps` denoising steps. Each phase has one part for the loading of its weights. The denoising phase has one more part
 * for each step; each of the other phases has one more part for its work.
 */
export function generationMeter(steps: number): OverallMeter {
  let fraction = 0
  let phase: PipelinePhase = 'resolving'
  /** The parts of the current phase: how many there are, and how many are done. */
  let [parts, done] = [2, 0]
  let first: { readonly at: number; readonly done: number } | undefined
  let secondsLeft: number | undefined
  return (event, now) => {
    if (event.type === 'status') {
      phase = event.phase
      ;[parts, done] = [phase === 'denoising' ? steps + 1 : 2, 0]
      secondsLeft = phase === 'complete' ? 0 : undefined
    } else if (event.type === 'weights') {
      // Weights that are loaded again do not count as progress: a streamed network loads its weights in each step.
      if (done < 1 && event.total > 0) done = Math.max(done, event.loaded / event.total)
    } else if (event.type === 'step') {
      ;[parts, done] = [event.total + 1, event.step + 2]
      first ??= { at: now, done }
      const pace = (now - first.at) / (done - first.done)
      if (done > first.done) secondsLeft = (pace * (parts - done + event.total * decodingPerDenoising)) / 1000
    }
    const [begin, end] = shares[phase] ?? [0, 0]
    const reached = phase === 'complete' ? 1 : begin + (end - begin) * Math.min(1, done / parts)
    fraction = Math.max(fraction, reached)
    return { ...event, fraction, loadedBytes: 0, totalBytes: 0, secondsLeft }
  }
}

/** The progress event of a denoising step, for {@link OverallMeter}. */
export function stepEvent({ step, total }: StepInfo): PipelineProgress {
  return { type: 'step', step, total }
}
