/** Shares the progress of a download with the tabs that wait for the same file. */

import type { FileProgress } from '../types.js'

const channelName = 'aquatint downloads'

/** The progress of one file's download, as the tab that downloads it sends it to the others. */
export interface SharedProgress {
  /** The file's key in the cache. */
  readonly key: string
  /** Bytes present so far. */
  readonly loaded: number
  /** Bytes present at the end: of the whole file, or of the parts of it that the sending tab gets. */
  readonly total: number
  readonly phase: FileProgress['phase']
}

/** Opens the channel on which this tab sends the progress of a file. Call `close` when the download ends. */
export function shareProgress(key: string): { post: (progress: FileProgress) => void; close: () => void } {
  const channel = new BroadcastChannel(channelName)
  return {
    post: ({ loaded, total, phase }) => channel.postMessage({ key, loaded, total, phase } satisfies SharedProgress),
    close: () => channel.close(),
  }
}

/** Calls `onProgress` with what other tabs send about a file. Returns a function that ends these calls. */
export function followProgress(key: string, onProgress: (progress: SharedProgress) => void): () => void {
  const channel = new BroadcastChannel(channelName)
  channel.addEventListener('message', ({ data }: MessageEvent<unknown>) => {
    const shared = data as Partial<SharedProgress> | null
    if (
      shared?.key === key &&
      typeof shared.loaded === 'number' &&
      typeof shared.total === 'number' &&
      typeof shared.phase === 'string'
    )
      onProgress(shared as SharedProgress)
  })
  return () => channel.close()
}
