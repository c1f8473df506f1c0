/** The compiled sessions of one WebGPU device: one for each program, shared by all stages and networks that use it. */

import type { Program } from '../onnx/types.js'
import type { Session } from './onnxruntime.js'

/** The sessions of one device by program, each with its users. */
export class SessionCache {
  readonly #create: (program: Program, user: string) => Promise<Session>
  readonly #release: (session: Session) => Promise<void>
  readonly #entries = new Map<string, { readonly session: Promise<Session>; readonly users: Set<object> }>()
  #created = 0

  constructor(create: (program: Program, user: string) => Promise<Session>, release: (session: Session) => Promise<void>) {
    this.#create = create
    this.#release = release
  }

  /** How many sessions exist now, and how many were ever made. */
  get counts(): { readonly alive: number; readonly created: number } {
    return { alive: this.#entries.size, created: this.#created }
  }

  /** The session of `program`, made on first use; a failure is not kept. `user` uses it until {@link leave}. */
  async get(program: Program, user: object, name: string): Promise<Session> {
    let entry = this.#entries.get(program.key)
    if (entry === undefined) {
      this.#created++
      entry = { session: this.#create(program, name), users: new Set() }
      this.#entries.set(program.key, entry)
      const made = entry
      made.session.catch(() => {
        if (this.#entries.get(program.key) === made) this.#entries.delete(program.key)
      })
    }
    entry.users.add(user)
    return entry.session
  }

  /** Releases the sessions that only `user` used. */
  async leave(user: object): Promise<void> {
    const left = []
    for (const [key, entry] of this.#entries) {
      entry.users.delete(user)
      if (entry.users.size > 0) continue
      this.#entries.delete(key)
      left.push(entry.session)
    }
    await this.#releaseAll(left)
  }

  /** Releases all sessions. */
  async clear(): Promise<void> {
    const all = [...this.#entries.values()].map((entry) => entry.session)
    this.#entries.clear()
    await this.#releaseAll(all)
  }

  /** Forgets all sessions without releasing them: their device was lost, and onnxruntime's calls on it may never return. */
  abandon(): void {
    this.#entries.clear()
  }

  async #releaseAll(sessions: readonly Promise<Session>[]): Promise<void> {
    const settled = await Promise.allSettled(sessions)
    for (const result of settled) if (result.status === 'fulfilled') await this.#release(result.value)
  }
}
