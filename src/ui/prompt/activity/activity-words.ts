/** Describes an activity: a short headline and a line of numbers. Pure. */

import { componentLabel, type DeviceKind, type PipelineInfo } from '../../../index.js'
import { formatSeconds, formatShare, formatTimeLeft } from '../../parts/format.js'
import { processorTime } from '../../parts/processor-time.js'
import type { Size } from '../../parts/size.js'
import { formatBytes } from '../../../util/format-bytes.js'
import { downloadSpeed, downloadTotals, stepsTimeLeft, type Activity, type FileActivity } from './activity.js'

/** The current phase, in a few words. */
export function headline(activity: Activity): string {
  const { weights, component, step } = activity
  if (weights !== undefined) return `Loading the ${componentLabel(weights.component)}`
  switch (activity.phase) {
    case 'idle':
      return ''
    case 'starting':
      return 'Starting'
    case 'resolving':
      return 'Looking up the model'
    case 'downloading':
      return downloadTotals(activity.files).verifying > 0 && !anyDownloading(activity) ? 'Verifying download' : 'Downloading'
    case 'ready':
      return 'Model ready'
    case 'encoding':
      return component === undefined ? 'Encoding the prompt' : `Encoding the prompt · ${componentLabel(component)}`
    case 'denoising':
      return step === undefined ? 'Denoising' : `Denoising · step ${step.done} of ${step.total}`
    case 'decoding':
      return 'Decoding the picture'
    case 'complete':
      return 'Done'
  }
}

/** The numbers for the current phase; empty if there are none. */
export function details(activity: Activity): string {
  const { weights } = activity
  if (weights !== undefined) return formatShare(weights.loaded, weights.total)
  if (activity.phase === 'downloading') return downloadDetails(activity)
  if (activity.phase !== 'denoising') return ''
  const { step } = activity
  const left = stepsTimeLeft(activity)
  if (left !== undefined) return left === 0 ? '' : `${formatTimeLeft(left)} left`
  const computing =
    step === undefined ? 'Computing the first step' : step.done < step.total ? `Computing step ${step.done + 1}` : ''
  return computing === '' || activity.device?.kind !== 'wasm' ? computing : `${computing} on the CPU`
}

function downloadDetails(activity: Activity): string {
  const { total, loaded, cached } = downloadTotals(activity.files)
  if (total === 0) return ''
  const parts = [formatShare(loaded, total)]
  const speed = downloadSpeed(activity)
  if (speed !== undefined && loaded < total) {
    parts.push(`${formatBytes(speed)}/s`, `${formatTimeLeft((total - loaded) / speed)} left`)
  }
  if (cached > 0) parts.push(cached === total ? 'all cached' : `${formatBytes(cached)} cached`)
  return parts.join(' · ')
}

/** The state of a file: the bytes so far while it downloads, otherwise its size and a word such as `cached`. */
export function fileState({ phase, loaded, total, cached }: FileActivity): string {
  if (phase === 'queued') return `${formatBytes(total)}, queued`
  if (phase === 'verifying') return `${formatBytes(total)}, verifying`
  if (phase === 'downloading') return formatShare(loaded, total)
  return cached === total ? `${formatBytes(total)}, cached` : formatBytes(total)
}

/** The words for where the weights are, for each kind of device. */
const placeWords: Readonly<Record<DeviceKind, string>> = { webgpu: 'On the GPU', wasm: 'In memory' }

/** The components that are on the device now. */
export function memoryPlace({ memory, device }: Activity): string {
  if (memory === undefined) return ''
  const there = Object.entries(memory.components).filter(([, { weights, activations }]) => weights + activations > 0)
  const names = there.map(([name]) => componentLabel(name)).join(', ')
  return `${placeWords[device?.kind ?? 'webgpu']}: ${names === '' ? 'nothing' : names}`
}

/** The memory in use, its peak so far, and the budget. */
export function memoryNumbers({ memory, device }: Activity): string {
  if (memory === undefined) return ''
  const parts = [`${formatBytes(memory.live)} in use`, `peak ${formatBytes(memory.peak)}`]
  if (device?.budget !== undefined) parts.push(`budget ${formatBytes(device.budget)}`)
  return parts.join(' · ')
}

/** What an idle box shows: a headline and a second line. */
export type IdleWords = readonly [headline: string, more: string]

/** Whether the primary pointer is a finger. Such devices usually have no keyboard, so the box does not mention keys. */
const isTouched = 'matchMedia' in globalThis && matchMedia('(pointer: coarse)').matches
const keys = isTouched ? '' : 'Ctrl-Enter generates, Esc cancels'
export const restingWords: IdleWords = ['', keys]
export const readyWords: IdleWords = ['Ready', keys]
/** What the second line says before a picture that takes long on the CPU; empty for other pictures. */
export function waitWords({ device, components }: PipelineInfo, size: Size | undefined): string {
  if (device.kind !== 'wasm' || size === undefined) return ''
  const time = processorTime(components, size)
  return time === undefined ? '' : `On the CPU, ${size.width} × ${size.height} takes ${time}`
}

export const cancelledWords: IdleWords = ['Cancelled', 'Downloaded data is kept']

/** Describes a finished run: its total time, and the times of its phases, such as `encode 0.2 s · denoise 31 s · decode 1.2 s`. */
export function doneWords(timings: Readonly<Record<string, number>>): IdleWords {
  const phases = Object.entries(timings)
  const seconds = phases.reduce((sum, [, part]) => sum + part, 0)
  return [
    `Done in ${formatSeconds(seconds, true)}`,
    phases.map(([name, part]) => `${name} ${formatSeconds(part, true)}`).join(' · '),
  ]
}

function anyDownloading({ files }: Activity): boolean {
  return [...files.values()].some(({ phase }) => phase === 'downloading' || phase === 'queued')
}
