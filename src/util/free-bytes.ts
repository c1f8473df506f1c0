/** Giving memory back at once. Large buffers are collected late: a loop that drops them faster than that holds hundreds of megabytes. */

/**
 * Frees the memory of bytes that nobody reads any more, and empties every view of it. Leaves alone what is a part of something larger.
 * Together is cheaper than one by one. (`ArrayBuffer.transfer` only makes Chromium forget to count it; what is sent to a closed port is
 * really gone.)
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

/** Large enough for a collector to take notice. It takes no memory, since nothing is ever written into it. */
const bait = 64 << 20

/**
 * Makes the browser look sooner for what nobody uses any more, such as handles of Blobs, which keep their room on the disk until they are
 * collected. Called every half second it takes Chromium two or three; a quiet page keeps them for minutes. False where there is no room.
 */
export function hurryCollector(): boolean {
  try {
    // Looked at, or a bundler would leave it out.
    return new ArrayBuffer(bait).byteLength === bait
  } catch {
    return false
  }
}
