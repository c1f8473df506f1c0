/**
 * Finds the files of a checkpoint on a host that cannot list them, by asking for each name that a layout gives. A {@link LayoutProbe} sends
 * the requests.
 */

import type { LayoutNames, RepositoryFile } from '../types.js'

/** How to ask a host. */
export interface LayoutProbe {
  /** Bytes of a file, or undefined when the host does not have it. */
  sizeOf(path: string): Promise<number | undefined>
  /** Size in bytes of what the host sends for the path, without retries; undefined on a failure. */
  sizeAtOnce(path: string): Promise<number | undefined>
  /** The JSON in a file that exists; undefined when it is not valid JSON. */
  json(path: string): Promise<unknown>
}

/** The most requests for one repository, so that a malicious file cannot make the page send requests for ever. */
const maxRequests = 2000

/** How many requests run at the same time. */
const atOnce = 6

/** Names that no repository has. A host that finds them answers every path with something. */
const absentNames = ['aquatint-asks-whether-this-is-there.safetensors', 'aquatint-asks-this.safetensors'] as const

/**
 * The files found, sorted by path. None when the host has no checkpoint. A host may answer every missing path with a text: answers of the same length
 * as that text do not count as files. If the text has another length for each path, no files are returned.
 */
export async function probeLayout(probe: LayoutProbe, layout: LayoutNames): Promise<RepositoryFile[]> {
  const found = new Map<string, number>()
  let requestsLeft = maxRequests
  const probeAll = async (paths: readonly string[]): Promise<void> => {
    const left = paths.filter((path) => !found.has(path)).slice(0, requestsLeft)
    requestsLeft -= left.length
    const work = async () => {
      for (let path = left.shift(); path !== undefined; path = left.shift()) {
        const size = await probe.sizeOf(path)
        if (size !== undefined && size !== textBytes) found.set(path, size)
      }
    }
    await Promise.all(Array.from({ length: atOnce }, work))
  }
  const textBytes = await probe.sizeAtOnce(absentNames[0])
  if (textBytes !== undefined && (await probe.sizeAtOnce(absentNames[1])) !== textBytes) return []
  for (const round of layout.rounds) await probeAll(await round([...found.keys()], (path) => probe.json(path)))
  return [...found].map(([path, size]) => ({ path, size })).sort((a, b) => (a.path < b.path ? -1 : 1))
}
