/** What a failure of IndexedDB means. Browsers differ in class and message; the names below are what they agree on. */

import { StorageError } from '../../errors.js'

/**
 * A StorageError for whatever IndexedDB threw, null included:
 * `quota-exceeded` no room; `write-failed` this value was refused now, later or in another form it may not be; `connection-lost` the
 * browser closed the database, open it again; `storage-unreadable` a record is there but its bytes are not; `storage-failed` the rest.
 */
export function storageError(error: unknown, doing: string): StorageError {
  if (error instanceof StorageError) return error
  const name = error instanceof Error || error instanceof DOMException ? error.name : ''
  const text = error instanceof Error || error instanceof DOMException ? error.message : ''
  const shown = name === '' ? 'no reason given' : `${name}${text === '' ? '' : `: ${text}`}`
  return new StorageError(codeOf(name, text), `The browser's storage failed ${doing} (${shown})`, { name }, error ?? undefined)
}

function codeOf(name: string, text: string): string {
  if (name === 'QuotaExceededError') return 'quota-exceeded'
  if (name === 'InvalidStateError' || name === 'AbortError' || /connection|closed|closing/i.test(text)) return 'connection-lost'
  if (name === 'DataError' || name === 'DataCloneError' || name === 'EncodingError') return 'write-failed'
  if (name === 'NotReadableError' || name === 'NotFoundError' || /failed to read large/i.test(text)) return 'storage-unreadable'
  // WebKit and Chromium give UnknownError for trouble on the disk, which may be over the next time.
  return name === 'UnknownError' || name === '' ? 'connection-lost' : 'storage-failed'
}
