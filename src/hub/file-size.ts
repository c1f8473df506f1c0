/** How long a file may be: lengths come from strangers, and decide how much is written down and fetched. */

import { HubError } from '../errors.js'

/** 16 TiB. Records grow with the number of chunks, about a million here. */
const maxSize = 2 ** 44

/** Whether `value` is a length in bytes that a file can have. */
export function isSize(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= maxSize
}

/** @throws HubError `file-too-large` when a file has more bytes than its reader takes */
export function checkMaxBytes(path: string, size: number, maxBytes: number | undefined): void {
  if (maxBytes === undefined || size <= maxBytes) return
  throw new HubError('file-too-large', `${path} is ${size} bytes long; at most ${maxBytes} are read.`, { path, size, maxBytes })
}
