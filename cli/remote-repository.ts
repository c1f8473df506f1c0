/** A repository on a Hub or a web server, for looking: of weight files only the headers are fetched, and nothing is kept on disk. */

import { Hub } from '../src/hub/hub.js'
import { openRepository } from '../src/hub/open-repository.js'
import { peeking } from '../src/hub/peeking.js'
import type { Repository } from '../src/hub/types.js'

export interface RemoteOptions {
  /** Base URL of the Hub with a slash at its end. */
  readonly endpoint: string
  readonly revision?: string | undefined
  readonly token?: string | undefined
  readonly signal: AbortSignal
}

/** @throws as the hub's openRepository */
export async function openRemote(reference: string, options: RemoteOptions): Promise<Repository> {
  return peeking(await openRepository(await Hub.open({ store: null }), reference, options))
}
