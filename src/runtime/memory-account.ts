/**
 * The memory account of one device: the current and the peak bytes of each component, by purpose. Pure bookkeeping: gpu-buffers.ts reports
 * every GPU buffer that is made and destroyed, wasm-backend.ts the bytes of weights that it gives to onnxruntime.
 */

import type { ComponentMemory, MemoryMeter, MemoryPurpose, MemorySnapshot } from './types.js'

/** Memory that the account counts until it is released. */
export interface Allocation {
  readonly bytes: number
  /** Counts the memory for another owner. */
  transfer(owner: string): void
  /** Stops counting the memory. A second call changes nothing. */
  release(): void
}

interface OwnerBytes {
  weights: number
  activations: number
  peakWeights: number
  peakActivations: number
}

/** The account of one device, or of several if their accounts have this one as `total`. */
export class MemoryAccount implements MemoryMeter {
  readonly #owners = new Map<string, OwnerBytes>()
  readonly #allocations = new Set<Allocation>()
  readonly #listeners = new Set<(moved: boolean) => void>()
  readonly #total: MemoryAccount | undefined
  #live = 0
  #peak = 0
  #liveWeights = 0
  #peakWeights = 0

  /** `total`: an account of several devices, which counts this device's memory too. */
  constructor(total?: MemoryAccount) {
    this.#total = total
  }

  /** Bytes in use. */
  get live(): number {
    return this.#live
  }

  /** Counts `bytes` for `owner` until released. */
  allocate(owner: string, purpose: MemoryPurpose, bytes: number): Allocation {
    let holder = owner
    let held = true
    const allocation: Allocation = {
      bytes,
      transfer: (next) => {
        if (!held || next === holder) return
        this.#count(holder, purpose, -bytes)
        holder = next
        this.#count(holder, purpose, bytes)
      },
      release: () => {
        if (!held) return
        held = false
        this.#allocations.delete(allocation)
        this.#count(holder, purpose, -bytes)
      },
    }
    this.#allocations.add(allocation)
    this.#count(owner, purpose, bytes)
    return allocation
  }

  /** Stops counting all memory, after the device was lost or destroyed. */
  releaseAll(): void {
    for (const allocation of this.#allocations) allocation.release()
  }

  snapshot(): MemorySnapshot {
    const components: Record<string, ComponentMemory> = {}
    for (const [owner, tally] of this.#owners) components[owner] = { ...tally }
    return {
      live: this.#live,
      peak: this.#peak,
      liveWeights: this.#liveWeights,
      peakWeights: this.#peakWeights,
      components,
    }
  }

  resetPeaks(): void {
    this.#peak = this.#live
    this.#peakWeights = this.#liveWeights
    for (const [owner, tally] of this.#owners) {
      if (tally.weights === 0 && tally.activations === 0) this.#owners.delete(owner)
      tally.peakWeights = tally.weights
      tally.peakActivations = tally.activations
    }
    this.#changed()
  }

  subscribe(listener: (snapshot: MemorySnapshot) => void, intervalMs = 100): () => void {
    let timer: ReturnType<typeof setTimeout> | undefined
    let due = false
    const notify = () => {
      if (!due) return
      due = false
      clearTimeout(timer)
      listener(this.snapshot())
      timer = setTimeout(() => {
        timer = undefined
        notify()
      }, intervalMs)
    }
    const onChange = (moved: boolean) => {
      due = true
      // The listener is not called synchronously: changes often occur in groups, and it must not run inside the code that allocates. A
      // timer would be too late for weights that stay for one run only: on the CPU no timer fires during a run.
      if (moved) queueMicrotask(notify)
      else timer ??= setTimeout(notify, 0)
    }
    this.#listeners.add(onChange)
    return () => {
      this.#listeners.delete(onChange)
      clearTimeout(timer)
      due = false
    }
  }

  #count(owner: string, purpose: MemoryPurpose, change: number): void {
    let tally = this.#owners.get(owner)
    if (tally === undefined) {
      tally = { weights: 0, activations: 0, peakWeights: 0, peakActivations: 0 }
      this.#owners.set(owner, tally)
    }
    this.#live += change
    this.#peak = Math.max(this.#peak, this.#live)
    const had = tally.weights > 0
    if (purpose === 'weights') {
      tally.weights += change
      tally.peakWeights = Math.max(tally.peakWeights, tally.weights)
      this.#liveWeights += change
      this.#peakWeights = Math.max(this.#peakWeights, this.#liveWeights)
    } else {
      tally.activations += change
      tally.peakActivations = Math.max(tally.peakActivations, tally.activations)
    }
    if (this.#total !== undefined) this.#total.#count(owner, purpose, change)
    this.#changed(had !== tally.weights > 0)
  }

  /** `moved`: the first weights of a component were loaded, or its last ones were freed. */
  #changed(moved = false): void {
    for (const listener of this.#listeners) listener(moved)
  }
}
