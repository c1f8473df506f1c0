/** Bytes of a GPU buffer. Pure. */

/** Bytes of the storage buffer for `bytes` of data: kernels bind buffers in units of 16 bytes. */
export function storageBytes(bytes: number): number {
  return Math.max(16, Math.ceil(bytes / 16) * 16)
}
