/**
 * How a page notices that a worker has died. Browsers fire no event when a worker is terminated or runs out of memory, but they do
 * release its Web Locks: the worker holds a lock as long as it lives, and the page requests the same lock.
 */

/** Takes a lock that the browser releases when this worker ends. Returns its name, or null if locks are not available (an opaque origin). */
export async function holdLifeLock(locks: LockManager | undefined): Promise<string | null> {
  if (locks === undefined) return null
  const name = `aquatint-engine-${crypto.randomUUID()}`
  try {
    await new Promise<void>((taken, refused) => {
      locks
        .request(name, () => {
          taken()
          return new Promise<never>(() => {})
        })
        .catch(refused)
    })
    return name
  } catch {
    return null
  }
}

/** Calls `onDeath` once the holder of `name` is gone, unless `signal` aborts first. */
export async function watchLifeLock(
  locks: LockManager | undefined,
  name: string,
  signal: AbortSignal,
  onDeath: () => void,
): Promise<void> {
  try {
    await locks?.request(name, { signal }, () => onDeath())
  } catch (error) {
    if (!signal.aborted) throw error
  }
}
