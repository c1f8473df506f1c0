/** How many bytes a GPU buffer takes. Pure. */

/** Bytes that a storage buffer for `bytes` of data takes: kernels bind in units of 16. */
export function storageBytes(bytes: number): number {
  return Math.max(16, Math.ceil(bytes / 16) * 16)
}
