/** Measures the memory of a browser's renderer processes, and the CPU time of all its processes, from Linux's /proc. */

import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'

interface Process {
  readonly pid: number
  readonly parent: number
  readonly command: string
}

/** The ids of the processes of the browser with this profile. */
function processesOf(profile: string): Process[] {
  const lines = execFileSync('ps', ['-eo', 'pid=,ppid=,args='], { encoding: 'utf8', maxBuffer: 1 << 26 }).split('\n')
  const processes = lines.flatMap((line) => {
    const match = /^\s*(\d+)\s+(\d+)\s+(.*)$/.exec(line)
    return match === null ? [] : [{ pid: Number(match[1]), parent: Number(match[2]), command: match[3] ?? '' }]
  })
  const own = new Set(processes.filter(({ command }) => command.includes(profile)).map(({ pid }) => pid))
  // Chromium's renderers are children of zygote processes, which are children of the browser. Each round adds a generation.
  for (let round = 0; round < 3; round++) for (const { pid, parent } of processes) if (own.has(parent)) own.add(pid)
  return processes.filter(({ pid }) => own.has(pid))
}

/** The ids of the browser's processes that run pages. */
export function renderersOf(profile: string): number[] {
  return processesOf(profile)
    .filter(({ command }) => command.includes('--type=renderer'))
    .map(({ pid }) => pid)
}

/** The CPU seconds of all living processes of the browser with this profile. */
export function processorSeconds(profile: string): number {
  const ticks = processesOf(profile).map(({ pid }) => {
    try {
      // The fields after the command's name: state, parent … user and system time, in hundredths of a second.
      const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
        .replace(/^.*\) /s, '')
        .split(' ')
      return Number(fields[11]) + Number(fields[12])
    } catch {
      // The process has ended in the meantime.
      return 0
    }
  })
  return ticks.reduce((sum, each) => sum + each, 0) / 100
}

/** How often the high-water marks are read, in milliseconds. Chromium resets them from time to time, for its statistics. */
const lookMs = 50

/** Starts watching processes. The returned function returns the most bytes that one process has used since then, above its bytes at the start. */
export function watchPeak(renderers: readonly number[]): () => number {
  const idle = renderers.map((pid) => residentKilobytes(pid, 'VmRSS'))
  // Reset the high-water mark.
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

/** Starts watching a browser. The returned function stops, and returns the most resident bytes of each kind of process (on Linux; empty elsewhere). */
export function watchPeaks(profile: string): () => Readonly<Record<string, number>> {
  const peaks: Record<string, number> = {}
  if (process.platform !== 'linux') return () => peaks
  const look = () => {
    for (const { pid, command } of processesOf(profile)) {
      const kind = /--type=([\w-]+)/.exec(command)?.[1] ?? 'browser'
      peaks[kind] = Math.max(peaks[kind] ?? 0, 1024 * residentKilobytes(pid, 'VmHWM'))
    }
  }
  // Listing the processes takes more time than reading the memory of one, so it happens less often.
  const timer = setInterval(look, 20 * lookMs)
  return () => {
    clearInterval(timer)
    look()
    return peaks
  }
}

/** Returns 0 for a process that has ended. */
function residentKilobytes(pid: number, field: 'VmRSS' | 'VmHWM'): number {
  try {
    return Number(new RegExp(`${field}:\\s+(\\d+)`).exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0)
  } catch {
    return 0
  }
}
