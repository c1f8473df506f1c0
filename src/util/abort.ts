/** Abort signals: the error that callers receive, and waits that end when a signal fires. */

/** The error of an aborted operation: the signal's own reason when it is an AbortError, else an AbortError with the reason's message. */
export function abortError(signal: AbortSignal): Error {
  const reason: unknown = signal.reason
  if (reason instanceof Error && reason.name === 'AbortError') return reason
  return new DOMException(reason instanceof Error ? reason.message : 'The operation was aborted.', 'AbortError')
}

/** @throws AbortError when `signal` is aborted */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw abortError(signal)
}

/** Whether `error` says that an operation was aborted rather than failed. */
export function isAbortError(error: unknown): boolean {
  return error instanceof Error && error.name === 'AbortError'
}

/**
 * Settles as `promise` does, or rejects when `signal` fires first. The work behind `promise` continues: use this when that work watches the
 * signal itself or cannot be stopped. @throws AbortError
 */
export async function orAbort<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise
  throwIfAborted(signal)
  return new Promise<T>((resolve, reject) => {
    const onAbort = () => reject(abortError(signal))
    signal.addEventListener('abort', onAbort, { once: true })
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort))
  })
}
