/** Giving memory back at once. Large buffers are collected late: a loop that drops them faster than that holds hundreds of megabytes. */

/**
 * Frees the memory of bytes that nobody reads any more, and empties every view of it. Leaves alone what is a part of something larger.
 * (`ArrayBuffer.transfer` only makes Chromium forget to count it; what is sent to a closed port is really gone.)
 */
export function freeBytes(bytes: Uint8Array<ArrayBuffer>): void {
  const { buffer } = bytes
  if (buffer.byteLength === 0 || bytes.byteLength < buffer.byteLength) return
  const { port1, port2 } = new MessageChannel()
  port2.close()
  port1.postMessage(null, [buffer])
  port1.close()
}
