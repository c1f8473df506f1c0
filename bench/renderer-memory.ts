/** Memory of a browser's page processes, and time of the processor that all of them had, as Linux counts it. */

import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'

interface Process {
  readonly pid: number
  readonly parent: number
  readonly command: string
}

/** Processes of the browser with this profile. */
function processesOf(profile: string): Process[] {
  const lines = execFileSync('ps', ['-eo', 'pid=,ppid=,args='], { encoding: 'utf8', maxBuffer: 1 << 26 }).split('\n')
  const processes = lines.flatMap((line) => {
    const match = /^\s*(\d+)\s+(\d+)\s+(.*)$/.exec(line)
    return match === null ? [] : [{ pid: Number(match[1]), parent: Number(match[2]), command: match[3] ?? '' }]
  })
  const own = new Set(processes.filter(({ command }) => command.includes(profile)).map(({ pid }) => pid))
  // Children of the zygotes, which are children of the browser.
  for (let round = 0; round < 3; round++) for (const { pid, parent } of processes) if (own.has(parent)) own.add(pid)
  return processes.filter(({ pid }) => own.has(pid))
}

/** Those of them that run pages. */
export function renderersOf(profile: string): number[] {
  return processesOf(profile)
    .filter(({ command }) => command.includes('--type=renderer'))
    .map(({ pid }) => pid)
}

/** Seconds of the processor that the browser with this profile has had in all its living processes. */
export function processorSeconds(profile: string): number {
  const ticks = processesOf(profile).map(({ pid }) => {
    try {
      // What follows the command's name: state, parent … user and system time, in hundredths of a second.
      const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
        .replace(/^.*\) /s, '')
        .split(' ')
      return Number(fields[11]) + Number(fields[12])
    } catch {
      // It has ended meanwhile.
      return 0
    }
  })
  return ticks.reduce((sum, each) => sum + each, 0) / 100
}

/** How often high-water marks are read, in milliseconds: Chromium sets its own back now and then, for statistics. */
const lookMs = 50

/** Watches processes until they end: the function returned gives the most bytes that one of them has held since, above what it held then. */
export function watchPeak(renderers: readonly number[]): () => number {
  const idle = renderers.map((pid) => residentKilobytes(pid, 'VmRSS'))
  // From here on the high-water mark counts anew.
  for (const pid of renderers) writeFileSync(`/proc/${pid}/clear_refs`, '5')
  let most = 0
  const look = () => {
    const held = renderers.map((pid) => residentKilobytes(pid, 'VmHWM'))
    for (const [k, kilobytes] of held.entries()) most = Math.max(most, kilobytes - (idle[k] ?? 0))
    if (held.every((kilobytes) => kilobytes === 0)) clearInterval(timer)
  }
  const timer = setInterval(look, lookMs)
  return () => {
    look()
    return 1024 * most
  }
}

/** Begins to watch a browser: the function returned ends it and gives the most resident bytes of each kind of process (Linux; empty elsewhere). */
export function watchPeaks(profile: string): () => Readonly<Record<string, number>> {
  const peaks: Record<string, number> = {}
  if (process.platform !== 'linux') return () => peaks
  const look = () => {
    for (const { pid, command } of processesOf(profile)) {
      const kind = /--type=([\w-]+)/.exec(command)?.[1] ?? 'browser'
      peaks[kind] = Math.max(peaks[kind] ?? 0, 1024 * residentKilobytes(pid, 'VmHWM'))
    }
  }
  // A listing of processes takes more than a look at one.
  const timer = setInterval(look, 20 * lookMs)
  return () => {
    clearInterval(timer)
    look()
    return peaks
  }
}

/** 0 for a process that has ended. */
function residentKilobytes(pid: number, field: 'VmRSS' | 'VmHWM'): number {
  try {
    return Number(new RegExp(`${field}:\\s+(\\d+)`).exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0)
  } catch {
    return 0
  }
}
