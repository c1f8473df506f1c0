/** Tells other tabs how far a download is, while they wait for it. */

import type { FileProgress } from '../types.js'

const channelName = 'aquatint downloads'

/** Progress of the download of one content, as one tab tells the others. */
export interface SharedProgress {
  readonly key: string
  readonly loaded: number
  readonly phase: FileProgress['phase']
}

/** Begins to tell. `close` ends it. */
export function announce(key: string): { post: (progress: FileProgress) => void; close: () => void } {
  const channel = new BroadcastChannel(channelName)
  return {
    post: ({ loaded, phase }) => channel.postMessage({ key, loaded, phase } satisfies SharedProgress),
    close: () => channel.close(),
  }
}

/** Calls `heard` with what others tell of `key`. Returns the end of it. */
export function listen(key: string, heard: (progress: SharedProgress) => void): () => void {
  const channel = new BroadcastChannel(channelName)
  channel.addEventListener('message', ({ data }: MessageEvent<unknown>) => {
    const told = data as Partial<SharedProgress> | null
    if (told?.key === key && typeof told.loaded === 'number' && typeof told.phase === 'string') heard(told as SharedProgress)
  })
  return () => channel.close()
}
