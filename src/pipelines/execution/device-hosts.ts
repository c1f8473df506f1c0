/** The runtime side of a pipeline whose networks may be on several devices: one host for each device, and one memory account. */

import type { MemoryAccount } from '../../runtime/memory-account.js'
import type { ComponentHost } from './component-host.js'
import { Recovery } from './recovery.js'
import type { GenerationSize } from '../planning/memory-needs.js'
import type { Network } from '../bind-network.js'
import type { Run } from '../run.js'
import type { PipelineMemory } from '../types.js'
import type { DeviceInfo, DeviceName } from '../../memory/device-info.js'

/** A compilation of kernels before a generation. The next generation ends it. */
export interface Preparation {
  /** Ends the compilation. */
  stop(): Promise<void>
  /** Ends the compilation and releases the sessions that no network has used. */
  end(): Promise<void>
}

export class DeviceHosts {
  /** Recovers these hosts when a device is lost or memory runs out. */
  readonly recovery = new Recovery()
  readonly #hosts: ReadonlyMap<DeviceName, ComponentHost>
  readonly #places: ReadonlyMap<string, DeviceName>
  readonly #networks: ReadonlyMap<string, Network>
  readonly #total: MemoryAccount
  /** The compilations that the next generation ends. */
  #preparations: readonly Preparation[]

  /** `places`: the device of every network, by its name; `total`: the account of the memory of all devices. */
  constructor(
    hosts: ReadonlyMap<DeviceName, ComponentHost>,
    places: ReadonlyMap<string, DeviceName>,
    networks: ReadonlyMap<string, Network>,
    total: MemoryAccount,
    preparation?: Preparation,
  ) {
    this.#hosts = hosts
    this.#places = places
    this.#networks = networks
    this.#total = total
    this.#preparations = preparation === undefined ? [] : [preparation]
  }

  /** The host that runs a network. */
  of(network: string): ComponentHost {
    const place = this.#places.get(network)
    const host = place === undefined ? undefined : this.#hosts.get(place)
    if (host === undefined) throw new TypeError(`${network} was put on no device.`)
    return host
  }

  /** Plans a generation on each device: see {@link ComponentHost.fit}. @throws DeviceError `does-not-fit`, `buffer-too-large` */
  async fit(size: GenerationSize, run: Run): Promise<void> {
    await this.#stopPreparing()
    for (const [name, host] of this.#hosts)
      await host.fit(this.#networks, (network) => this.#places.get(network) === name, size, run)
  }

  /** Adds a compilation that has begun and that the next generation ends. */
  prepare(begun: Preparation): void {
    this.#preparations = [...this.#preparations, begun]
  }

  /** The devices as they are now, by name. */
  get devices(): Readonly<Record<string, DeviceInfo>> {
    return Object.fromEntries([...this.#hosts].map(([name, host]) => [name, host.device.info]))
  }

  /** The memory account of all devices together, and of each device. */
  get memory(): PipelineMemory {
    const devices = [...this.#hosts].map(([name, host]) => [name, host.device.memory.snapshot()] as const)
    return { ...this.#total.snapshot(), devices: Object.fromEntries(devices) }
  }

  /** Calls `listener` after each change of the memory account. Returns a function that ends the subscription. */
  watchMemory(listener: (memory: PipelineMemory) => void): () => void {
    return this.#total.subscribe(() => listener(this.memory))
  }

  /** After a generation: see {@link ComponentHost.settle}. */
  async settle(): Promise<void> {
    for (const host of this.#hosts.values()) await host.settle()
    const preparations = this.#preparations
    this.#preparations = []
    await Promise.all(preparations.map((preparation) => preparation.end()))
  }

  /** Disposes all components and devices. */
  async dispose(): Promise<void> {
    await this.#stopPreparing()
    for (const host of this.#hosts.values()) await host.dispose()
  }

  async #stopPreparing(): Promise<void> {
    await Promise.all(this.#preparations.map((preparation) => preparation.stop()))
  }
}

/** Reports the memory account to `run` when it changes while `work` runs, and once at the end. */
export async function reportingMemory<T>(hosts: DeviceHosts, run: Run, work: () => Promise<T>): Promise<T> {
  const report = (memory: PipelineMemory) => run.report({ type: 'memory', memory })
  const stop = hosts.watchMemory(report)
  try {
    return await work()
  } finally {
    stop()
    report(hosts.memory)
  }
}
