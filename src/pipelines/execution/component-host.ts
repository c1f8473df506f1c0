/**
 * One device of a loaded pipeline: a component for each network on it (and for each variant of its graph), and which of them keep their
 * weights. Makes room before a network runs and gives everything back at the end.
 */

import { throwIfAborted } from '../../util/abort.js'
import { openDevice } from '../../runtime/open-device.js'
import { RecoveryLadder } from '../../runtime/recovery.js'
import type { MemoryAccount } from '../../runtime/memory-account.js'
import type { DeviceTensor, HostTensor } from '../../runtime/types.js'
import { isAquatintError } from '../../errors.js'
import { ComponentSet } from './component-set.js'
import type { GenerationSize } from '../planning/memory-needs.js'
import type { Residence } from '../../memory/plan.js'
import type { GraphVariant, Network } from '../bind-network.js'
import type { Run } from '../run.js'
import type { DTypeName } from '../types.js'
import { HostPlan, type HostPlanOptions, type VaePart } from './host-plan.js'
import type { Shapes } from '../../onnx/types.js'
import type { Extent } from '../latent-geometry.js'
import type { Device } from '../../runtime/device.js'

export interface HostOptions extends HostPlanOptions {
  /** The account of all of a pipeline's devices, for a device that takes this one's place. */
  readonly total?: MemoryAccount | undefined
}

/** A tensor on a device, or in host memory, as what goes to another device is. */
export type Value = DeviceTensor | HostTensor

/** A float32 tensor in host memory, to go into a network. */
export function hostTensor(dims: readonly number[], data: Float32Array): HostTensor {
  return { type: 'float32', dims, data }
}

function shapesOf(inputs: Readonly<Record<string, Value>>): Shapes {
  return Object.fromEntries(Object.entries(inputs).map(([name, tensor]) => [name, tensor.dims]))
}

/** Runs networks on one device, one after the other. */
export class ComponentHost {
  readonly dtype: DTypeName
  #device: Device
  readonly #ladder = new RecoveryLadder()
  readonly #plan: HostPlan
  readonly #total: MemoryAccount | undefined
  /** The network that ran last, and on what shapes. */
  #last = ''
  readonly #components: ComponentSet

  constructor(options: HostOptions) {
    this.#device = options.device
    this.dtype = options.dtype
    this.#components = new ComponentSet(options.dtype)
    this.#plan = new HostPlan(options)
    this.#total = options.total
    this.device.buffers?.setLimit(this.#plan.limit)
  }

  /** The device of now: a lost one is replaced. */
  get device(): Device {
    return this.#device
  }

  /** Where weights stay now: too little memory makes it tighter. */
  get offload(): Residence {
    return this.#plan.offload
  }

  /** Bytes that is planned within, where there is a budget or a guess at one. */
  get memoryBudget(): number | undefined {
    return this.#plan.memoryBudget
  }

  /**
   * Makes ready for a generation of a size, on the networks that are `here`. Where it does not fit in `maxMemory` as weights
   * usually stay, they stay for a shorter time in it.
   * @throws DeviceError `does-not-fit` with bytes needed and offered, `buffer-too-large` with the tensor, before anything runs
   */
  async fit(
    networks: ReadonlyMap<string, Network>,
    here: (network: string) => boolean,
    size: GenerationSize,
    run: Run,
  ): Promise<void> {
    this.#plan.fit(this.#device, networks, here, size, run)
    this.#device.buffers?.setLimit(this.#plan.limit)
    // Left from an image to image run, and not in the plan of one without.
    if (size.fromImage !== true)
      for (const name of networks.keys()) await this.#components.unloadVariant(name, { part: 'encoder' })
  }

  /**
   * Runs a network for one that is on the host `next`: its outputs `wanted`, on the device where that is this one, else read. Again where
   * {@link recovering} says so. @throws DeviceError, CheckpointError, AbortError
   */
  async runFor<Name extends string>(
    next: ComponentHost,
    network: Network,
    inputs: Readonly<Record<string, Value>>,
    wanted: readonly Name[],
    run: Run,
    variant: GraphVariant = {},
  ): Promise<Record<Name, Value>> {
    return this.recovering(network, run, async () => {
      const outputs = await this.runOnce(network, inputs, run, variant)
      const given = new Map<string, Value>()
      try {
        for (const name of wanted) {
          const output = outputs[name]
          if (output === undefined) throw new TypeError(`${network.name} has no output ${name}.`)
          given.set(name, await this.handOver(output, next))
        }
        return Object.fromEntries(given) as Record<Name, Value>
      } finally {
        const kept = new Set(given.values())
        for (const tensor of Object.values(outputs)) if (!kept.has(tensor)) tensor.dispose()
      }
    })
  }

  /** A tensor of this device for a network on the host `next`: itself where that is this one, else its values in its place. */
  async handOver(tensor: DeviceTensor, next: ComponentHost): Promise<Value> {
    if (next === this) return tensor
    try {
      return hostTensor(tensor.dims, await tensor.read())
    } finally {
      tensor.dispose()
    }
  }

  /** As {@link runOnce}, and reads the output `wanted`. */
  async readOnce(
    network: Network,
    inputs: Readonly<Record<string, Value>>,
    wanted: string,
    run: Run,
    variant: GraphVariant = {},
  ): Promise<Float32Array<ArrayBuffer>> {
    const outputs = await this.runOnce(network, inputs, run, variant)
    try {
      return (await outputs[wanted]?.read()) ?? new Float32Array()
    } finally {
      for (const tensor of Object.values(outputs)) tensor.dispose()
    }
  }

  /**
   * Does `work` with a network. After a lost device or with too little memory it is done once more, as {@link RecoveryLadder} says: a device
   * in the lost one's place has nothing of what was put there, so each try begins with `prepare`, which sees to its own failures. `part`: the
   * half of an autoencoder that works, which asks in each try for its tiles.
   * @throws what `work` and `prepare` throw, DeviceError, AbortError
   */
  async recovering<T>(
    network: Network,
    run: Run,
    work: () => Promise<T>,
    prepare: () => Promise<unknown> = async () => {},
    part?: VaePart,
  ): Promise<T> {
    for (;;) {
      await prepare()
      const device = this.#device
      try {
        return await work()
      } catch (error) {
        throwIfAborted(run.signal)
        await this.#recover(error, network, run, device, part)
      }
    }
  }

  /** Makes ready for another try, or throws what there is left to say. `device`: the one that failed. */
  async #recover(error: unknown, network: Network, run: Run, device: Device, part: VaePart | undefined): Promise<void> {
    const isLoss = isAquatintError(error) && error.code === 'device-lost'
    if (isLoss && device !== this.#device) return
    const step = this.#ladder.next(error, this.#plan.setup(network, part, device), device)
    if (step.action === 'fail') throw step.error
    if (step.action === 'rebuild') return this.#rebuild(error, run)
    await this.#components.unload()
    this.#plan.lower(step, error, network, part, device, run)
    device.buffers?.setLimit(this.#plan.limit)
    device.buffers?.reclaim()
  }

  /** Opens a device in place of a lost one. What was on it comes from the cache again. */
  async #rebuild(error: unknown, run: Run): Promise<void> {
    const lost = this.#device
    const next = await openDevice({ kind: lost.info.name, total: this.#total })
    if (next.info.shaderF16 !== lost.info.shaderF16) {
      await next.dispose()
      throw error
    }
    next.buffers?.setLimit(this.#plan.limit)
    await this.#components.moveTo(next)
    this.#device = next
    await lost.dispose()
    run.warn('device-lost', 'The GPU device was lost. It was opened anew, and the work goes on from where it was.')
  }

  /**
   * Runs a network; its outputs stay where they are. The others' weights go first unless all may stay.
   * @throws DeviceError, CheckpointError, AbortError
   */
  async runOnce(
    network: Network,
    inputs: Readonly<Record<string, Value>>,
    run: Run,
    variant: GraphVariant = {},
  ): Promise<Record<string, DeviceTensor>> {
    throwIfAborted(run.signal)
    const { component, variant: name } = this.#components.get(network, variant, this.#device)
    if (this.offload !== 'resident') await this.#components.unload((other) => other === component)
    const shapes = shapesOf(inputs)
    const what = JSON.stringify([network.name, variant, shapes])
    // Buffers for reuse are of the other run's sizes, and would be there beside this one's.
    if (this.#last !== what) this.device.buffers?.trim()
    this.#last = what
    await component.setPlan(this.#plan.weightPlan(network.name, variant.part))
    return component.run(inputs, {
      signal: run.signal,
      onProgress: (loaded, total) => run.report({ type: 'weights', component: network.name, loaded, total }),
      variant: name,
    })
  }

  /**
   * Edge in latent pixels of the tiles in which a half of an autoencoder works on an image of this size in latent pixels: as the generation
   * that was made ready for is planned, or the smallest where memory has run out. Undefined: on the whole.
   */
  vaeTile(vae: Network, size: Extent, part: VaePart): number | undefined {
    return this.#plan.vaeTile(vae, size, part)
  }

  /**
   * After a generation: one component at a time means none between generations, graphs of rare variants are not kept, and neither are buffers
   * for reuse, since the next may be of another size.
   */
  async settle(): Promise<void> {
    if (this.offload !== 'resident') await this.#components.unload()
    await this.#components.dropRare()
    this.device.buffers?.reclaim()
  }

  /** Unloads the other networks unless all may stay: what is put on the device for this one needs their room. */
  async makeRoomFor(network: Network): Promise<void> {
    if (this.offload !== 'resident') await this.#components.unload((other) => other.name === network.name)
  }

  /** Gives back all components and the device. */
  async dispose(): Promise<void> {
    await this.#components.dispose()
    await this.device.dispose()
  }
}
