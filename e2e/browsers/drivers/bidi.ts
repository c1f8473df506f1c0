/** A connection to a browser by WebDriver BiDi: commands as JSON over a WebSocket. https://w3c.github.io/webdriver-bidi/ */

import { WebSocket } from 'ws'

interface Message {
  readonly type: 'success' | 'error' | 'event'
  readonly id?: number | null
  readonly result?: unknown
  readonly error?: string
  readonly message?: string
}

interface Waiting {
  readonly resolve: (result: unknown) => void
  readonly reject: (error: Error) => void
}

/** Sends commands, and matches the answers to them. */
export class BidiConnection {
  readonly #socket: WebSocket
  readonly #waiting = new Map<number, Waiting>()
  #next = 0

  private constructor(socket: WebSocket) {
    this.#socket = socket
    // By default, ws passes each message as one Buffer.
    socket.on('message', (data: Buffer) => this.#receive(JSON.parse(data.toString()) as Message))
    socket.on('close', () => this.#end(new Error('The browser closed the connection')))
    socket.on('error', (error) => this.#end(error))
  }

  /** Connects to the address that the browser writes at its start, and begins a session. */
  static async open(address: string): Promise<{ connection: BidiConnection; capabilities: Readonly<Record<string, unknown>> }> {
    const socket = new WebSocket(`${address}/session`, { perMessageDeflate: false, maxPayload: 2 ** 28 })
    await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject))
    const connection = new BidiConnection(socket)
    const { capabilities } = await connection.send<{ capabilities: Record<string, unknown> }>('session.new', { capabilities: {} })
    return { connection, capabilities }
  }

  /** @throws Error with the command and what the browser says about it */
  send<R = unknown>(method: string, params: object): Promise<R> {
    const id = ++this.#next
    return new Promise<R>((resolve, reject) => {
      this.#waiting.set(id, {
        resolve: (result) => resolve(result as R),
        reject: (error) => reject(new Error(`${method}: ${error.message}`)),
      })
      this.#socket.send(JSON.stringify({ id, method, params }))
    })
  }

  close(): void {
    this.#socket.close()
  }

  #receive({ type, id, result, error, message }: Message): void {
    const waiting = this.#waiting.get(id ?? 0)
    this.#waiting.delete(id ?? 0)
    if (type === 'error') waiting?.reject(new Error(`${error ?? ''}: ${message ?? ''}`))
    else waiting?.resolve(result)
  }

  #end(error: Error): void {
    for (const { reject } of this.#waiting.values()) reject(error)
    this.#waiting.clear()
  }
}
