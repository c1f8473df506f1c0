/**
 * Locks on cached files, across tabs: one tab downloads a file while the others wait, and a file that a tab has open is not evicted. The
 * browser releases the locks of a tab or worker that dies. Without Web Locks (plain http, Node) the locks work within this thread only.
 */

import { orAbort } from '../../util/abort.js'
import { deferred } from '../../util/deferred.js'

/** Locks that are identified by name. */
export interface Locks {
  /** Waits for the lock and calls `run` while holding it alone. @throws AbortError if the signal aborts while waiting */
  exclusively<T>(name: string, signal: AbortSignal, run: () => Promise<T>): Promise<T>
  /** Takes a lock that others may share. Returns the function that releases it. */
  share(name: string): Promise<() => void>
  /** Calls `run` while holding the lock alone. If the lock is taken, returns undefined without calling `run`. */
  ifFree<T>(name: string, run: () => Promise<T>): Promise<T | undefined>
}

/** Web Locks if the browser has them and this page may use them (a sandboxed frame may not), else locks within this thread. */
export async function createLocks(): Promise<Locks> {
  const manager = (globalThis.navigator as { locks?: LockManager } | undefined)?.locks
  if (manager === undefined) return new ThreadLocks()
  try {
    await manager.query()
    return new BrowserLocks(manager)
  } catch {
    return new ThreadLocks()
  }
}

/** Name of the lock that is held while a file is downloaded. */
export function downloadLock(key: string): string {
  return `aquatint download ${key}`
}

/** Name of the lock that is held while a file is open or being downloaded. */
export function useLock(key: string): string {
  return `aquatint use ${key}`
}

class BrowserLocks implements Locks {
  readonly #manager: LockManager

  constructor(manager: LockManager) {
    this.#manager = manager
  }

  exclusively<T>(name: string, signal: AbortSignal, run: () => Promise<T>): Promise<T> {
    return this.#manager.request(name, { signal }, run) as Promise<T>
  }

  share(name: string): Promise<() => void> {
    return new Promise((resolve, reject) => {
      const held = this.#manager.request(name, { mode: 'shared' }, () => new Promise<void>((release) => resolve(release)))
      held.catch(reject)
    })
  }

  ifFree<T>(name: string, run: () => Promise<T>): Promise<T | undefined> {
    return this.#manager.request(name, { ifAvailable: true }, (lock) => (lock === null ? undefined : run())) as Promise<
      T | undefined
    >
  }
}

/** The queue of one lock: its holder and the callers that wait, in order. */
interface Line {
  count: number
  /** Resolves when the queue is empty. */
  empty: Promise<void>
}

/** Locks within one thread. */
class ThreadLocks implements Locks {
  readonly #lines = new Map<string, Line>()
  readonly #shared = new Map<string, number>()

  async exclusively<T>(name: string, signal: AbortSignal, run: () => Promise<T>): Promise<T> {
    const line = this.#lines.get(name) ?? { count: 0, empty: Promise.resolve() }
    this.#lines.set(name, line)
    const before = line.empty
    const { promise: left, resolve: leave } = deferred()
    // If a caller is aborted while it waits, the callers behind it must still wait for those ahead of it.
    line.empty = before.then(() => left)
    line.count++
    try {
      await orAbort(before, signal)
      return await run()
    } finally {
      leave()
      if (--line.count === 0) this.#lines.delete(name)
    }
  }

  async share(name: string): Promise<() => void> {
    for (let line = this.#lines.get(name); line !== undefined; line = this.#lines.get(name)) await line.empty
    this.#shared.set(name, (this.#shared.get(name) ?? 0) + 1)
    let open = true
    return () => {
      if (!open) return
      open = false
      const left = (this.#shared.get(name) ?? 1) - 1
      if (left === 0) this.#shared.delete(name)
      else this.#shared.set(name, left)
    }
  }

  ifFree<T>(name: string, run: () => Promise<T>): Promise<T | undefined> {
    if (this.#shared.has(name) || this.#lines.has(name)) return Promise.resolve(undefined)
    return this.exclusively(name, new AbortController().signal, run)
  }
}
