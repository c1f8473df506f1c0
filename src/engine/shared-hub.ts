/** The single hub of the worker: opened at first use, shared by the pipelines and the cache manager. */

import type { StorageError } from '../errors.js'
import { Hub } from '../hub/hub.js'

/** Opens the hub once, and reports failures of its storage to the current listeners, and the last failure to later ones. */
export class SharedHub {
  #hub: Promise<Hub> | undefined
  /** The last storage failure, for listeners that are added later. */
  #trouble: StorageError | undefined
  readonly #listeners = new Set<(error: StorageError) => void>()

  /** Opens the hub, or returns the one that is open. */
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

  /** Runs `work` with the hub; `onTrouble` receives the last storage failure from before, and each one that occurs while `work` runs. */
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
