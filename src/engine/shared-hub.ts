/** The worker's one hub: opened at first use, shared by its pipelines and its cache manager. */

import type { StorageError } from '../errors.js'
import { Hub } from '../hub/hub.js'

/** Opens the hub once, and tells whoever listens when its storage refuses. */
export class SharedHub {
  #hub: Promise<Hub> | undefined
  /** The trouble that opening met, for those who come later. */
  #trouble: StorageError | undefined
  readonly #listeners = new Set<(error: StorageError) => void>()

  /** The hub. */
  open(): Promise<Hub> {
    this.#hub ??= Hub.open({
      onStorageTrouble: (error) => {
        this.#trouble = error
        for (const listener of this.#listeners) listener(error)
      },
    }).catch((error: unknown) => {
      this.#hub = undefined
      throw error
    })
    return this.#hub
  }

  /** Runs `work` with the hub; `onTrouble` hears of storage that refused before or does meanwhile. */
  async use<T>(onTrouble: (error: StorageError) => void, work: (hub: Hub) => Promise<T>): Promise<T> {
    this.#listeners.add(onTrouble)
    try {
      const known = this.#trouble
      const hub = await this.open()
      if (known !== undefined) onTrouble(known)
      return await work(hub)
    } finally {
      this.#listeners.delete(onTrouble)
    }
  }
}
