/** Letting a worker's messages through between two pieces of work that each keep the thread. */

/**
 * The turns of one long piece of work. They share a channel: each is some kilobytes that are collected late, and thousands of them were 30 MB.
 * To be closed when the work is done. For browsers: Node delivers up to a thousand messages of one channel before it looks elsewhere.
 */
export class Turns {
  readonly #channel = new MessageChannel()
  #go: () => void = () => {}

  constructor() {
    this.#channel.port1.addEventListener('message', () => this.#go())
    this.#channel.port1.start()
  }

  /** Resolves in a later turn of the event loop, after messages that are waiting. A timer would be held to 4 ms. One wait at a time. */
  next(): Promise<void> {
    return new Promise((resolve) => {
      this.#go = resolve
      this.#channel.port2.postMessage(null)
    })
  }

  close(): void {
    this.#channel.port1.close()
  }
}

/** One turn, see {@link Turns}. */
export async function nextTurn(): Promise<void> {
  const turns = new Turns()
  await turns.next()
  turns.close()
}
