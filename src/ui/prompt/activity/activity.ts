/**
 * What a prompt box is doing, computed from the events of a load or a generation. Pure: each activity follows from the previous one, an event and a time.
 * `activity-words.ts` puts it into words, `activity-view.ts` draws it.
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
import { isComplete, reachDownload, reachPhase, reachSteps, reachWeights, startReached, type Reached } from './stages.js'

/** A file of a component, and how much of it is loaded. */
export interface FileActivity extends FileProgress {
  readonly component: string
}

/** The bytes downloaded up to some moment, to compute the speed. */
interface Sample {
  /** Milliseconds. */
  readonly at: number
  readonly bytes: number
}

/** What a prompt box is doing. Times are milliseconds of one clock. */
export interface Activity {
  readonly phase: PipelinePhase | 'idle' | 'starting'
  /** The component that the phase works on. */
  readonly component?: string | undefined
  readonly startedAt: number
  /** Keyed by component and path, in the order of their first events. */
  readonly files: ReadonlyMap<string, FileActivity>
  readonly samples: readonly Sample[]
  /** The component whose weights are being loaded to the device, and the bytes loaded so far. */
  readonly weights?: { readonly component: string; readonly loaded: number; readonly total: number } | undefined
  readonly step?: { readonly done: number; readonly total: number; readonly firstAt: number; readonly lastAt: number } | undefined
  readonly memory?: MemorySnapshot | undefined
  /** The device whose memory is counted, and its budget in bytes if it has one. */
  readonly device?: { readonly kind: DeviceKind; readonly budget: number | undefined } | undefined
  readonly warnings: readonly string[]
  /** The progress that the bar shows. */
  readonly reached: Reached
}

/** The activity of an idle box after `previous`: it keeps the memory figures, and the bars of a finished run. */
export function idle(previous?: Activity, hasModel = false): Activity {
  const { memory, device, reached } = previous ?? {}
  const kept = reached !== undefined && isComplete(reached) ? reached : startReached(hasModel)
  return { phase: 'idle', startedAt: 0, files: new Map(), samples: [], warnings: [], memory, device, reached: kept }
}

/** The activity after a pipeline was loaded: with its device, without the memory figures of an earlier pipeline. */
export function loaded(activity: Activity, { device, memoryBudget }: PipelineInfo): Activity {
  return { ...activity, memory: undefined, device: { kind: device.kind, budget: memoryBudget } }
}

/** The activity at the start of a load, or of a generation if the model is loaded already (`hasModel`). */
export function start(previous: Activity, now: number, hasModel: boolean): Activity {
  return { ...idle(previous), phase: 'starting', startedAt: now, reached: startReached(hasModel) }
}

/** The download speed is averaged over this many milliseconds. */
const window = 4000

/** The activity after an event. */
export function advance(activity: Activity, event: PipelineProgress, now: number): Activity {
  switch (event.type) {
    case 'status':
      return {
        ...activity,
        phase: event.phase,
        component: event.component,
        weights: undefined,
        reached: reachPhase(activity.reached, event.phase),
      }
    case 'file': {
      const files = new Map(activity.files)
      files.set(`${event.component} ${event.file.path}`, { ...event.file, component: event.component })
      const { fetched: bytes, loaded: arrived, total } = downloadTotals(files)
      const recent = activity.samples.filter(({ at }) => at >= now - window)
      // Keep one sample that is older than the window, so that a slow download still has two samples.
      const before = activity.samples.findLast(({ at }) => at < now - window)
      const samples = [...(before === undefined ? [] : [before]), ...recent, { at: now, bytes }]
      return { ...activity, files, samples, reached: reachDownload(activity.reached, total === 0 ? 0 : arrived / total) }
    }
    case 'weights': {
      const { component, loaded, total } = event
      const reached = reachWeights(activity.reached, total === 0 ? 1 : loaded / total)
      return { ...activity, reached, weights: loaded < total ? { component, loaded, total } : undefined }
    }
    case 'memory':
      return { ...activity, memory: event.memory }
    case 'step':
      return activity
    case 'warning':
      return activity.warnings.includes(event.message)
        ? activity
        : { ...activity, warnings: [...activity.warnings, event.message] }
  }
}

/** The activity after a denoising step. */
export function advanceStep(activity: Activity, { step, total }: StepInfo, now: number): Activity {
  const firstAt = activity.step?.firstAt ?? now
  const done = step + 1
  const reached = reachSteps(activity.reached, done / total)
  return { ...activity, phase: 'denoising', weights: undefined, reached, step: { done, total, firstAt, lastAt: now } }
}

/** Sums over all files, in bytes: `loaded` is `cached` (from the cache) plus `fetched` (from the network). `verifying` counts files. */
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

/** The download speed in bytes per second, or undefined without two samples that are at least 250 ms apart, or while no data arrives. */
export function downloadSpeed({ samples }: Activity): number | undefined {
  const first = samples[0]
  const last = samples.at(-1)
  if (first === undefined || last === undefined || last.at - first.at < 250) return undefined
  const speed = ((last.bytes - first.bytes) / (last.at - first.at)) * 1000
  return speed > 0 ? speed : undefined
}

/** Seconds until the last step is done, estimated from the steps so far; undefined before the second step. */
export function stepsTimeLeft({ step }: Activity): number | undefined {
  if (step === undefined || step.done < 2) return undefined
  return ((step.lastAt - step.firstAt) / (step.done - 1) / 1000) * (step.total - step.done)
}
