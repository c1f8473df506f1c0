/** How long a file may be: lengths come from strangers, and decide how much is written down and fetched. */

/** 16 TiB. Records grow with the number of chunks, about a million here. */
const maxSize = 2 ** 44

/** Whether `value` is a length in bytes that a file can have. */
export function isSize(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= maxSize
}
