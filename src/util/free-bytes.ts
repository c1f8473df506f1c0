/** Frees memory at once. Browsers collect large buffers late, so a loop that drops many of them would keep hundreds of megabytes. */

/**
 * Frees the memory of bytes that nothing reads any more, and empties every view of this memory. Does nothing to a view of a part of a
 * larger buffer. One call for many views is cheaper than many calls. The function sends the buffers to a closed port, which frees them. In
 * Chromium, `ArrayBuffer.transfer` does not free a buffer; it only stops counting it.
 */
export function freeBytes(...unread: readonly Uint8Array<ArrayBuffer>[]): void {
  const whole = unread.filter(({ buffer, byteLength }) => buffer.byteLength > 0 && byteLength === buffer.byteLength)
  const buffers = [...new Set(whole.map(({ buffer }) => buffer))]
  if (buffers.length === 0) return
  const { port1, port2 } = new MessageChannel()
  port2.close()
  port1.postMessage(null, buffers)
  port1.close()
}

/** Bytes of a buffer that is large enough to start a garbage collection. It takes no memory, since nothing is written into it. */
const triggerBytes = 64 << 20

/**
 * Makes the browser collect garbage sooner, such as handles of Blobs: a Blob keeps its disk space until its handle is collected. With a
 * call every half second, Chromium collects handles within two or three seconds; without calls, an idle page keeps them for minutes.
 * Returns false if the buffer cannot be allocated.
 */
export function hurryCollector(): boolean {
  try {
    // The comparison keeps a bundler from removing the allocation.
    return new ArrayBuffer(triggerBytes).byteLength === triggerBytes
  } catch {
    return false
  }
}
