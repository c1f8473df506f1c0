/**
 * Compiles the kernels of a generation before it begins: while the weights download, and after a change of LoRAs. The weights are not
 * needed for this, because the configs and the headers of the weight files determine the graphs.
 */

import { isRefusal } from '../../memory/refusal.js'
import type { Network } from '../bind-network.js'
import { graphsOn } from '../planning/memory-needs.js'
import type { PipelineSpec } from '../pipeline-spec.js'
import type { LoadPipelineOptions, PlannedSize } from '../types.js'
import type { Device } from '../../runtime/device.js'
import { planDevices } from './plan-networks.js'
import type { OpenDevices } from './open-devices.js'

/** The generation whose kernels are compiled, and its networks. */
export interface PreparationRequest {
  readonly placing: OpenDevices
  /** The networks, as their headers describe them. */
  readonly networks: ReadonlyMap<string, Network>
  readonly options: LoadPipelineOptions
  /** The generation. */
  readonly size: PlannedSize
  readonly spec: PipelineSpec
  /** The names of the networks to compile. Default: all. */
  readonly only?: ReadonlySet<string> | undefined
  /** An earlier preparation, which ends before this one begins: there might be too little memory for the buffers of both. */
  readonly previous?: KernelPreparation | undefined
}

/** The compilation of kernels on the devices. A generation ends it, and so does the disposal of the devices. */
export class KernelPreparation {
  readonly #stop = new AbortController()
  readonly #devices: readonly Device[]
  readonly #work: Promise<void>

  constructor({ placing, networks, options, size, spec, only, previous }: PreparationRequest) {
    this.#devices = [...placing.devices.values()]
    const { signal } = this.#stop
    this.#work = (async () => {
      await previous?.done()
      const planned = planDevices(placing, networks, { ...options, ...size }, spec)
      for (const { device, request, plan } of isRefusal(planned) ? [] : planned.plans)
        for (const [owner, graph] of graphsOn(request, plan))
          if (only?.has(owner) !== false) await device.prepare([graph], { owner, maxBytes: plan.peakBytes, signal })
    })()
    // An error here, such as a size that the model cannot generate, occurs again in the generation, which reports it.
    this.#work.catch(() => {})
  }

  /** Settles when everything is compiled, or when the work has ended early. */
  async done(): Promise<void> {
    await Promise.allSettled([this.#work])
  }

  /** Ends the work: the generation compiles the kernels that are missing. */
  async stop(): Promise<void> {
    this.#stop.abort()
    await this.done()
  }

  /** Releases the sessions that no network has used. */
  async end(): Promise<void> {
    await this.stop()
    // A device that is lost or disposed has no sessions.
    await Promise.allSettled(this.#devices.map((device) => device.endPreparation()))
  }
}
