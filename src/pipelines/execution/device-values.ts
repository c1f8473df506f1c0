/**
 * Tensors that networks pass to one another without a trip over the host: the prompt's condition, the latents. A lost device takes its
 * buffers along, so what is kept is how to make them.
 */

import type { DeviceTensor } from '../../runtime/types.js'
import type { ComponentHost, Value } from './component-host.js'

/** Tensors on a host's device by name, which can be had again. */
export class DeviceValues<Name extends string = string> {
  readonly #host: ComponentHost
  readonly #make: () => Promise<Readonly<Record<Name, DeviceTensor>>>
  #tensors: Readonly<Record<Name, DeviceTensor>> | undefined

  /** `make` puts them on the device that `host` has by then. */
  constructor(host: ComponentHost, make: () => Promise<Readonly<Record<Name, DeviceTensor>>>) {
    this.#host = host
    this.#make = make
  }

  /** On the device of now: made the first time, after a release, and when that device has taken another's place. @throws what making them throws */
  async get(): Promise<Readonly<Record<Name, DeviceTensor>>> {
    while (this.#tensors === undefined || !this.#areHere(this.#tensors)) {
      this.release()
      const { device } = this.#host
      try {
        this.#tensors = await this.#make()
      } catch (error) {
        // Where the device was replaced under the work, what was there already is gone. The host replaces none twice in a short time.
        if (this.#host.device === device) throw error
      }
    }
    return this.#tensors
  }

  #areHere(tensors: Readonly<Record<Name, DeviceTensor>>): boolean {
    return Object.values<DeviceTensor>(tensors).every((tensor) => this.#host.device.holds(tensor))
  }

  /** Gives the tensors back. */
  release(): void {
    for (const tensor of Object.values<DeviceTensor>(this.#tensors ?? {})) tensor.dispose()
    this.#tensors = undefined
  }
}

/** Takes note of a tensor that is to be disposed later, and gives it back. */
export type Keep = <V extends Value | undefined>(tensor: V) => V

/** Does `work`; the tensors that it keeps are disposed at its end. What is in host memory needs none of it. */
export async function withTemporary<T>(work: (keep: Keep) => Promise<T>): Promise<T> {
  const kept: Value[] = []
  try {
    return await work((tensor) => {
      if (tensor !== undefined) kept.push(tensor)
      return tensor
    })
  } finally {
    for (const tensor of kept) if ('dispose' in tensor) tensor.dispose()
  }
}
