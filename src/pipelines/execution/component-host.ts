/**
 * One device of a loaded pipeline, and the components on it: one for each network and variant of its graph. Unloads other components before a
 * network runs if they do not all fit, and frees everything at the end. Errors are thrown as they are: recovery.ts deals with them.
 */

import type { AutoencoderModel, Extent, GraphVariant } from '../../models/types.js'
import { throwIfAborted } from '../../util/abort.js'
import { openDevice } from '../../runtime/open-device.js'
import type { RecoveryStep, Setup } from '../../runtime/recovery.js'
import type { KeptValues } from '../../runtime/kept-values.js'
import type { MemoryAccount } from '../../runtime/memory-account.js'
import type { DeviceTensor, HostTensor } from '../../runtime/types.js'
import { ComponentSet } from './component-set.js'
import type { GenerationSize } from '../planning/memory-needs.js'
import type { Residence } from '../../memory/plan.js'
import type { Network } from '../bind-network.js'
import type { Run } from '../run.js'
import type { DTypeName } from '../types.js'
import { HostPlan, type HostPlanOptions, type VaePart } from './host-plan.js'
import type { Shapes } from '../../onnx/types.js'
import type { Device } from '../../runtime/device.js'

export interface HostOptions extends HostPlanOptions {
  /** The memory account of the whole pipeline. If the device is lost, the host opens the new device with it. */
  readonly total?: MemoryAccount | undefined
}

/** A tensor on a device, or in host memory on its way to another device. */
export type Value = DeviceTensor | HostTensor

function shapesOf(inputs: Readonly<Record<string, Value>>): Shapes {
  return Object.fromEntries(Object.entries(inputs).map(([name, tensor]) => [name, tensor.dims]))
}

/** Runs networks on one device, one after the other. */
export class ComponentHost {
  readonly dtype: DTypeName
  #device: Device
  readonly #plan: HostPlan
  readonly #total: MemoryAccount | undefined
  /** The network that ran last, with its variant and shapes. */
  #last = ''
  readonly #components: ComponentSet

  constructor(options: HostOptions) {
    this.#device = options.device
    this.dtype = options.dtype
    this.#components = new ComponentSet(options.dtype)
    this.#plan = new HostPlan(options)
    this.#total = options.total
    this.#device.buffers?.setLimit(this.#plan.limit)
  }

  /** The current device: {@link replaceDevice} changes it. */
  get device(): Device {
    return this.#device
  }

  /** The offload mode of this generation. After memory ran out, it is a mode that keeps less on the device. */
  get offload(): Residence {
    return this.#plan.offload
  }

  /** The bytes that plans stay within: see {@link HostPlan.memoryBudget}. */
  get memoryBudget(): number | undefined {
    return this.#plan.memoryBudget
  }

  /**
   * Plans a generation of a size for the networks that `here` accepts: see {@link HostPlan.fit}.
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
    // A run from an image left the encoder loaded; the plan of a run without an image has no memory for it.
    if (size.fromImage !== true)
      for (const name of networks.keys()) await this.#components.unloadVariant(name, { part: 'encoder' })
  }

  /**
   * Runs a network whose outputs `wanted` go to a network on the host `next`: they stay on the device if `next` is this host, else they are
   * read. @throws DeviceError, CheckpointError, AbortError
   */
  async runFor<Name extends string>(
    next: ComponentHost,
    network: Network,
    inputs: Readonly<Record<string, Value>>,
    wanted: readonly Name[],
    run: Run,
    variant: GraphVariant = {},
  ): Promise<Record<Name, Value>> {
    const outputs = await this.run(network, inputs, run, variant)
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
  }

  /** Hands a tensor of this device to a network on the host `next`: the tensor itself if `next` is this host; otherwise its values in host memory, and the tensor is disposed. */
  async handOver(tensor: DeviceTensor, next: ComponentHost): Promise<Value> {
    if (next === this) return tensor
    try {
      return { type: 'float32', dims: tensor.dims, data: await tensor.read() }
    } finally {
      tensor.dispose()
    }
  }

  /** Runs a network and reads its output `wanted`. @throws as {@link run} */
  async read(
    network: Network,
    inputs: Readonly<Record<string, Value>>,
    wanted: string,
    run: Run,
    variant: GraphVariant = {},
  ): Promise<Float32Array<ArrayBuffer>> {
    const outputs = await this.run(network, inputs, run, variant)
    try {
      return (await outputs[wanted]?.read()) ?? new Float32Array()
    } finally {
      for (const tensor of Object.values(outputs)) tensor.dispose()
    }
  }

  /**
   * Runs a network; its outputs stay on the device, and the caller disposes them. Unless all weights may stay, other components are unloaded first.
   * `kept` holds, from run to run, values that depend only on inputs that do not change.
   * @throws DeviceError, CheckpointError, AbortError
   */
  async run(
    network: Network,
    inputs: Readonly<Record<string, Value>>,
    run: Run,
    variant: GraphVariant = {},
    kept?: KeptValues,
  ): Promise<Record<string, DeviceTensor>> {
    throwIfAborted(run.signal)
    const { component, variant: name } = this.#components.get(network, variant, this.#device)
    if (this.#plan.offload !== 'resident') await this.#components.unload((other) => other === component)
    const shapes = shapesOf(inputs)
    const what = JSON.stringify([network.name, variant, shapes])
    // The buffers kept for reuse have the sizes of the previous run, and would take memory beside those of this run.
    if (this.#last !== what) this.#device.buffers?.trim()
    this.#last = what
    await component.setPlan(this.#plan.weightPlan(network.name, variant.part))
    return component.run(inputs, {
      signal: run.signal,
      onProgress: (loaded, total) => run.report({ type: 'weights', component: network.name, loaded, total }),
      variant: name,
      kept,
    })
  }

  /** How a network runs here, and what the recovery could still reduce for it. `part`: whether an autoencoder encodes or decodes. */
  setup(network: Network, part: VaePart | undefined): Setup {
    return this.#plan.setup(network, part, this.#device)
  }

  /** Unloads everything and plans with less memory, as a step of the recovery says, after a network ran out of memory. Warns the caller. */
  async lowerMemory(step: RecoveryStep, error: unknown, network: Network, part: VaePart | undefined, run: Run): Promise<void> {
    await this.#components.unload()
    this.#plan.lower(step, error, network, part, this.#device, run)
    this.#device.buffers?.setLimit(this.#plan.limit)
    this.#device.buffers?.reclaim()
  }

  /**
   * Opens a device in place of the lost one. The weights are later read from the cache again.
   * @throws DeviceError if the device cannot be opened; `loss` itself if only one of the two devices has float16
   */
  async replaceDevice(loss: unknown): Promise<void> {
    const lost = this.#device
    const next = await openDevice({ kind: lost.info.name, total: this.#total, kernels: lost.info.kernels.source })
    if (next.info.shaderF16 !== lost.info.shaderF16) {
      await next.dispose()
      throw loss
    }
    next.buffers?.setLimit(this.#plan.limit)
    await this.#components.moveTo(next)
    this.#device = next
    await lost.dispose()
  }

  /**
   * The edge of the tiles in which the autoencoder's encoder or decoder processes an image of this size: see {@link HostPlan.vaeTile}. Edge and
   * size are in latent pixels.
   */
  vaeTile(vae: Network<AutoencoderModel>, size: Extent, part: VaePart): number | undefined {
    return this.#plan.vaeTile(vae, size, part)
  }

  /**
   * After a generation: unloads components unless all may stay, drops the graphs of rare variants, and frees the buffers kept for reuse, since
   * the next generation may have another size.
   */
  async settle(): Promise<void> {
    if (this.#plan.offload !== 'resident') await this.#components.unload()
    await this.#components.dropRare()
    this.#device.buffers?.reclaim()
  }

  /** Before tensors for a network are put on the device: unloads the other networks, unless all may stay. */
  async makeRoomFor(network: Network): Promise<void> {
    if (this.#plan.offload !== 'resident') await this.#components.unload((other) => other.name === network.name)
  }

  /** Disposes all components and the device. */
  async dispose(): Promise<void> {
    await this.#components.dispose()
    await this.#device.dispose()
  }
}
