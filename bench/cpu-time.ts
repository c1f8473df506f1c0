/**
 * Measures the CPU seconds of the processes that this process has started. On a software adapter, CPU seconds show what a
 * run costs, even while other programs use the machine. Linux only.
 */

import { readdirSync, readFileSync } from 'node:fs'

/** The ticks in a second in `/proc/PID/stat`. Linux reports 100 to all programs. */
const ticks = 100

interface Process {
  readonly pid: number
  readonly parent: number
  readonly seconds: number
}

function readProcess(pid: string): readonly Process[] {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // The process's name, in parentheses, may contain any character.
    const fields = stat
      .slice(stat.lastIndexOf(')') + 2)
      .split(' ')
      .map(Number)
    return [{ pid: Number(pid), parent: fields[1] ?? 0, seconds: ((fields[11] ?? 0) + (fields[12] ?? 0)) / ticks }]
  } catch {
    // The process has ended.
    return []
  }
}

/** The CPU seconds so far of all living descendants of this process. */
export function cpuSecondsOfChildren(): number {
  const all = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap(readProcess)
  const sumBelow = (parent: number): number =>
    all.filter((one) => one.parent === parent).reduce((sum, { pid, seconds }) => sum + seconds + sumBelow(pid), 0)
  return sumBelow(process.pid)
}
