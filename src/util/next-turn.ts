/** Letting a worker's messages through between two pieces of work that each keep the thread. */

/** Resolves in a later turn of the event loop, after messages that are waiting. A timer would be held to 4 ms. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel()
    port1.addEventListener('message', () => {
      port1.close()
      resolve()
    })
    port1.start()
    port2.postMessage(null)
  })
}
