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

/** Begins to watch: the function returned gives the most bytes that one of the processes has held since, above what it holds now. */
export function watchPeak(renderers: readonly number[]): () => number {
  const idle = renderers.map((pid) => residentKilobytes(pid, 'VmRSS'))
  // From here on the high-water mark counts anew.
  for (const pid of renderers) writeFileSync(`/proc/${pid}/clear_refs`, '5')
  return () => 1024 * Math.max(...renderers.map((pid, k) => residentKilobytes(pid, 'VmHWM') - (idle[k] ?? 0)))
}

function residentKilobytes(pid: number, field: 'VmRSS' | 'VmHWM'): number {
  return Number(new RegExp(`${field}:\\s+(\\d+)`).exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1])
}
