/**
 * What a prompt box is doing, made from the events of a load or a generation. Pure: an event and a time in, the next activity
 * out. The words and the drawing are `activity-view.ts`'s.
 */

import type {
  DeviceKind,
  FileProgress,
  MemorySnapshot,
  PipelineInfo,
  PipelinePhase,
  PipelineProgress,
  StepInfo,
} from '../../../index.js'

/** A file of a component, as far as it is here. */
export interface FileActivity extends FileProgress {
  readonly component: string
}

/** Bytes that came over the network by some moment, to tell the speed from. */
interface Sample {
  /** Milliseconds. */
  readonly at: number
  readonly bytes: number
}

/** What is going on. Times are milliseconds of one clock. */
export interface Activity {
  readonly phase: PipelinePhase | 'idle' | 'starting'
  /** The component the phase is about. */
  readonly component?: string | undefined
  readonly startedAt: number
  /** Keyed by component and path, in the order they were first heard of. */
  readonly files: ReadonlyMap<string, FileActivity>
  readonly samples: readonly Sample[]
  /** Bytes of a component's weights that are in place, while it is being put there. */
  readonly weights?: { readonly component: string; readonly loaded: number; readonly total: number } | undefined
  readonly step?: { readonly done: number; readonly total: number; readonly firstAt: number; readonly lastAt: number } | undefined
  readonly memory?: MemorySnapshot | undefined
  /** What the memory is counted on, and the bytes to stay within, where there are any. */
  readonly device?: { readonly kind: DeviceKind; readonly budget: number | undefined } | undefined
  readonly warnings: readonly string[]
}

/** Nothing going on; what the last run left of the memory account stays. */
export function idle(previous?: Activity): Activity {
  const { memory, device } = previous ?? {}
  return { phase: 'idle', startedAt: 0, files: new Map(), samples: [], warnings: [], memory, device }
}

/** A pipeline is there, with its device; what an earlier one held is not. */
export function loaded(activity: Activity, { device, memoryBudget }: PipelineInfo): Activity {
  return { ...activity, memory: undefined, device: { kind: device.kind, budget: memoryBudget } }
}

/** A load or generation begins. */
export function start(previous: Activity, now: number): Activity {
  return { ...idle(previous), phase: 'starting', startedAt: now }
}

/** Speed is told from the last this many milliseconds. */
const window = 4000

/** The activity after an event. */
export function advance(activity: Activity, event: PipelineProgress, now: number): Activity {
  switch (event.type) {
    case 'status':
      return { ...activity, phase: event.phase, component: event.component, weights: undefined }
    case 'file': {
      const files = new Map(activity.files)
      files.set(`${event.component} ${event.file.path}`, { ...event.file, component: event.component })
      const bytes = downloadTotals(files).fetched
      const recent = activity.samples.filter(({ at }) => at >= now - window)
      // One older than the window is kept, so that a slow trickle still has two ends.
      const before = activity.samples.findLast(({ at }) => at < now - window)
      return { ...activity, files, samples: [...(before === undefined ? [] : [before]), ...recent, { at: now, bytes }] }
    }
    case 'weights': {
      const { component, loaded, total } = event
      return { ...activity, weights: loaded < total ? { component, loaded, total } : undefined }
    }
    case 'memory':
      return { ...activity, memory: event.memory }
    case 'warning':
      return activity.warnings.includes(event.message)
        ? activity
        : { ...activity, warnings: [...activity.warnings, event.message] }
  }
}

/** The activity after a denoising step. */
export function advanceStep(activity: Activity, { step, total }: StepInfo, now: number): Activity {
  const firstAt = activity.step?.firstAt ?? now
  return { ...activity, phase: 'denoising', weights: undefined, step: { done: step + 1, total, firstAt, lastAt: now } }
}

/** Bytes of all files: in all, here, of these from the cache, of these over the network; and how many files are being checked. */
export function downloadTotals(files: Activity['files']): {
  total: number
  loaded: number
  cached: number
  fetched: number
  verifying: number
} {
  const sums = { total: 0, loaded: 0, cached: 0, fetched: 0, verifying: 0 }
  for (const file of files.values()) {
    sums.total += file.total
    sums.loaded += file.loaded
    sums.cached += file.cached
    sums.fetched += file.loaded - file.cached
    if (file.phase === 'verifying') sums.verifying++
  }
  return sums
}

/** Bytes a second over the last seconds, or undefined before two samples or when nothing comes. */
export function downloadSpeed({ samples }: Activity): number | undefined {
  const first = samples[0]
  const last = samples.at(-1)
  if (first === undefined || last === undefined || last.at - first.at < 250) return undefined
  const speed = ((last.bytes - first.bytes) / (last.at - first.at)) * 1000
  return speed > 0 ? speed : undefined
}

/** Seconds until the last step is done, by the steps so far; undefined before the second. */
export function stepsTimeLeft({ step }: Activity): number | undefined {
  if (step === undefined || step.done < 2) return undefined
  return ((step.lastAt - step.firstAt) / (step.done - 1) / 1000) * (step.total - step.done)
}

/** How far the present stage is, 0 to 1, or undefined where it cannot be told. */
export function fraction(activity: Activity): number | undefined {
  if (activity.weights !== undefined) return activity.weights.loaded / activity.weights.total
  if (activity.phase === 'downloading') {
    const { loaded, total } = downloadTotals(activity.files)
    return total > 0 ? loaded / total : undefined
  }
  if (activity.phase === 'denoising' && activity.step !== undefined) return activity.step.done / activity.step.total
  return activity.phase === 'complete' || activity.phase === 'ready' ? 1 : undefined
}
