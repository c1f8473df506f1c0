/**
 * How a page learns that a worker has died. Browsers tell nobody when a worker is terminated or runs out of memory, but they do
 * free its Web Locks: the worker holds one of its own for life, and the page asks for the same one.
 */

/** Takes a lock that is freed when this worker ends. Its name, or null where there are no locks (an opaque origin). */
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
