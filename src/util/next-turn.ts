/** Lets a worker receive messages between two long pieces of work. */

/**
 * Pauses of one long piece of work, in which the event loop handles other messages. All pauses share one channel: a channel takes some
 * kilobytes, which are collected late, and thousands of channels took 30 MB. Call `close` when the work is done. Made for browsers: Node
 * delivers up to a thousand messages of one channel before those of others.
 */
export class Turns {
  readonly #channel = new MessageChannel()
  #go: () => void = () => {}

  constructor() {
    this.#channel.port1.addEventListener('message', () => this.#go())
    this.#channel.port1.start()
  }

  /** Resolves in a later turn of the event loop, after the messages that are waiting. Calls must not overlap. (A timer would wait at least 4 ms.) */
  next(): Promise<void> {
    return new Promise((resolve) => {
      this.#go = resolve
      this.#channel.port2.postMessage(null)
    })
  }

  /** Closes the channel. */
  close(): void {
    this.#channel.port1.close()
  }
}

/** One pause, see {@link Turns}. */
export async function nextTurn(): Promise<void> {
  const turns = new Turns()
  await turns.next()
  turns.close()
}
