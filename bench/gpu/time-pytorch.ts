/** Runs pytorch.py if Python and PyTorch are installed. That script times diffusers' modules of the same networks. */

import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

/** PyTorch's seconds by network, and remarks on them. */
export interface TorchTimes {
  readonly seconds: ReadonlyMap<string, number>
  readonly notes: readonly string[]
}

type Line = { readonly note: string } | { readonly name: string; readonly seconds: number }

/** Times the networks of a group. `limit`: seconds after which no other network is started. */
export async function timePyTorch(python: string, group: string, limit: number): Promise<TorchTimes> {
  const script = fileURLToPath(new URL('pytorch.py', import.meta.url))
  try {
    const { stdout } = await promisify(execFile)(python, [script, 'time', group, String(limit)], { timeout: 1000 * (limit + 60) })
    const lines = stdout.split('\n').flatMap((line) => (line.startsWith('{') ? [JSON.parse(line) as Line] : []))
    const seconds = lines.flatMap((line) => ('seconds' in line ? [[line.name, line.seconds] as const] : []))
    return { seconds: new Map(seconds), notes: lines.flatMap((line) => ('note' in line ? [line.note] : [])) }
  } catch (error) {
    const reason = (error instanceof Error ? error.message : String(error)).trim().split('\n').at(-1) ?? ''
    return { seconds: new Map(), notes: [`PyTorch was not timed: ${reason}`] }
  }
}
