/**
 * Recovery from a lost device and from too little memory. A generation is made of phases that can run again; {@link Recovery.retrying}
 * wraps them from outside. When a phase fails, `retrying` opens a new device or makes the network that failed use less memory, and calls
 * the phases once more. The phases name the running network with {@link failuresOf}; nothing else in a pipeline deals with such failures.
 */

import { isAquatintError } from '../../errors.js'
import { RecoveryLadder } from '../../runtime/recovery.js'
import type { Device } from '../../runtime/device.js'
import { throwIfAborted } from '../../util/abort.js'
import type { Network } from '../bind-network.js'
import type { Run } from '../run.js'
import type { ComponentHost } from './component-host.js'
import type { VaePart } from './host-plan.js'

/** A network that is running. */
export interface Work {
  readonly host: ComponentHost
  readonly network: Network
  /** Whether an autoencoder encodes or decodes. It needs less memory if it works in tiles. */
  readonly part?: VaePart | undefined
}

/** An error, and the network in whose work it occurred. Never leaves {@link Recovery.retrying}. */
class Failure extends Error {
  readonly work: Work
  /** The device that failed. */
  readonly device: Device

  constructor(work: Work, device: Device, cause: unknown) {
    super(`${work.network.name} failed.`, { cause })
    this.work = work
    this.device = device
  }
}

/** Runs `run`, a part of a network's work, so that {@link Recovery.retrying} knows which network an error is from. */
export async function failuresOf<T>(work: Work, run: () => Promise<T>): Promise<T> {
  const { device } = work.host
  try {
    return await run()
  } catch (error) {
    throw error instanceof Failure ? error : new Failure(work, device, error)
  }
}

/** Recovers the devices of one pipeline. */
export class Recovery {
  readonly #ladders = new Map<ComponentHost, RecoveryLadder>()

  /**
   * Runs `phases`, and runs it again after each failure for which {@link RecoveryLadder} has a next step. Between its calls, `phases` keeps the
   * results that are still valid; a tensor on a replaced device is not (see `Device.holds`).
   * @throws what `phases` throws; DeviceError `device-lost-again`, `out-of-memory`, `does-not-fit`; AbortError
   */
  async retrying<T>(run: Run, phases: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await phases()
      } catch (error) {
        if (!(error instanceof Failure)) throw error
        throwIfAborted(run.signal)
        await this.#recover(error, run)
      }
    }
  }

  /** Makes another try possible. @throws the error if there is nothing left to try */
  async #recover({ work, device, cause: error }: Failure, run: Run): Promise<void> {
    const { host, network, part } = work
    const isLoss = isAquatintError(error) && error.code === 'device-lost'
    if (isLoss && device !== host.device) return
    const ladder = this.#ladders.get(host) ?? new RecoveryLadder()
    this.#ladders.set(host, ladder)
    const step = ladder.next(error, host.setup(network, part), device)
    if (step.action === 'fail') throw step.error
    if (step.action !== 'rebuild') return host.lowerMemory(step, error, network, part, run)
    await host.replaceDevice(error)
    run.warn('device-lost', 'The GPU device was lost. Aquatint opened a new one and resumed the generation.')
  }
}
