/** Memory of a browser's page processes, as Linux counts it. */

import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'

/** Processes of the browser with this profile that run pages. */
export function renderersOf(profile: string): number[] {
  const lines = execFileSync('ps', ['-eo', 'pid=,ppid=,args='], { encoding: 'utf8', maxBuffer: 1 << 26 }).split('\n')
  const processes = lines.flatMap((line) => {
    const match = /^\s*(\d+)\s+(\d+)\s+(.*)$/.exec(line)
    return match === null ? [] : [{ pid: Number(match[1]), parent: Number(match[2]), command: match[3] ?? '' }]
  })
  const own = new Set(processes.filter(({ command }) => command.includes(profile)).map(({ pid }) => pid))
  // Children of the zygotes, which are children of the browser.
  for (let round = 0; round < 3; round++) for (const { pid, parent } of processes) if (own.has(parent)) own.add(pid)
  return processes.filter(({ pid, command }) => own.has(pid) && command.includes('--type=renderer')).map(({ pid }) => pid)
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
