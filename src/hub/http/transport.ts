/** What every request of a hub shares: one `fetch`, the transfer settings, and one connection pool per host. */

import { ConnectionPool } from './connections.js'
import type { TransferSettings } from '../settings.js'
import { FailureExplainer, type Fetch } from './explain-failure.js'

export type { Fetch } from './explain-failure.js'

/** How requests are sent: shared by everything that downloads through one hub. */
export interface Transport {
  readonly fetch: Fetch
  readonly settings: TransferSettings
  /** The connection pool of a host (name and port, as `URL.host` gives them). */
  readonly connectionsTo: (host: string) => ConnectionPool
  /** Finds out why the browser or the network ended a request. */
  readonly failures: FailureExplainer
  /** A random number in [0, 1), which spreads the retries of many clients. */
  readonly random: () => number
}

/** A transport with an empty connection pool for each host. `fetch` defaults to the global one, looked up at each request. */
export function createTransport(
  settings: TransferSettings,
  fetch: Fetch = (url, init) => globalThis.fetch(url, init),
): Transport {
  const pools = new Map<string, ConnectionPool>()
  return {
    fetch,
    settings,
    connectionsTo(host) {
      const pool = pools.get(host) ?? new ConnectionPool(settings, () => performance.now())
      pools.set(host, pool)
      return pool
    },
    failures: new FailureExplainer(fetch),
    random: () => Math.random(),
  }
}
