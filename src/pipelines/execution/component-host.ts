/**
 * One device of a loaded pipeline: a component for each network on it (and for each variant of its graph), and which of them keep their
 * weights. Makes room before a network runs and gives everything back at the end.
 */

import { throwIfAborted } from '../../util/abort.js'
import { openDevice } from '../../runtime/open-device.js'
import { RecoveryLadder } from '../../runtime/recovery.js'
import type { MemoryAccount } from '../../runtime/memory-account.js'
import type { Component, Device, DeviceTensor, HostTensor } from '../../runtime/types.js'
import { isAquatintError, type AquatintError } from '../../errors.js'
import { ComponentSet } from './component-set.js'
import type { ComponentNeeds } from '../../memory/needs.js'
import { guessBudget, type MemoryPlan } from '../../memory/plan.js'
import { formatBytes } from '../../util/format-bytes.js'
import { heldOn, needsOn, networkNeeds, type GenerationSize } from '../planning/memory-needs.js'
import { graphOptions, type GraphVariant, type Network } from '../bind-network.js'
import { planOn, type ResolvedOffload } from '../planning/residence.js'
import type { Run } from '../run.js'
import type { DTypeName } from '../types.js'
import { WeightBudgets, type WeightRoom } from '../planning/weight-budgets.js'
import type { Shapes } from '../../onnx/types.js'
import { tileChoices, type Extent } from '../latent-geometry.js'

export interface HostOptions {
  readonly device: Device
  readonly dtype: DTypeName
  readonly offload: ResolvedOffload
  /** Bytes of GPU buffers to stay within. */
  readonly maxMemory: number | undefined
  /** Bytes for weights on a CPU; WebAssembly's heap unless said. */
  readonly cpuMemory?: number | undefined
  /** Whether autoencoders work in tiles; undefined: where the whole would not fit. */
  readonly vaeTiling?: boolean | undefined
  /** Bytes of tensors that stay on the device while others run; 0 unless said. */
  readonly heldBytes?: number | undefined
  /** The account of all of a pipeline's devices, for a device that takes this one's place. */
  readonly total?: MemoryAccount | undefined
}

/** The halves of an autoencoder: they run apart, with weights of their own. */
export type VaePart = 'encoder' | 'decoder'

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
  /** Where weights stay where there is room, and in this generation. */
  #usualOffload: ResolvedOffload
  #offload: ResolvedOffload
  /** The halves of the autoencoder that too little memory has made work in the smallest tiles. */
  readonly #smallTiles = new Set<VaePart>()
  readonly #ladder = new RecoveryLadder()
  readonly #maxMemory: number | undefined
  readonly #cpuMemory: number | undefined
  /** What is planned with: `maxMemory`, or a guess on a GPU without one, or what the GPU was seen to have. */
  readonly #weightBudgets: WeightBudgets
  readonly #vaeTiling: boolean | undefined
  #heldBytes: number
  /** The generation that was made ready for last: what it needs, and how that is planned. */
  #needs: readonly ComponentNeeds[] | undefined
  #plan: MemoryPlan | undefined
  /** What generations of a size need, by size. */
  readonly #generationNeeds = new Map<string, readonly ComponentNeeds[]>()
  readonly #total: MemoryAccount | undefined
  /** Of the networks whose blocks are streamed, for each set of shapes and variant. */
  readonly #budgets = new Map<string, WeightRoom>()
  /** What their weights had in the last run, by network. */
  readonly #rooms = new Map<string, WeightRoom>()
  /** The network that ran last, and on what shapes. */
  #last = ''
  /** Components that were given a weight budget in this generation. */
  readonly #budgeted = new Set<Component>()
  readonly #components: ComponentSet

  constructor(options: HostOptions) {
    this.#device = options.device
    this.dtype = options.dtype
    this.#components = new ComponentSet(options.dtype)
    this.#usualOffload = options.offload
    this.#offload = options.offload
    this.#maxMemory = options.maxMemory
    this.#cpuMemory = options.cpuMemory
    const guess = this.device.info.kind === 'webgpu' ? guessBudget(this.device.info) : undefined
    this.#weightBudgets = new WeightBudgets(options.maxMemory, guess)
    this.#vaeTiling = options.vaeTiling
    this.#heldBytes = options.heldBytes ?? 0
    this.#total = options.total
    this.device.limitMemory(this.#limit)
  }

  /** What buffers that are kept for reuse may fill: within a budget, no more than the plan says. */
  get #limit(): number | undefined {
    const { limit } = this.#weightBudgets
    return limit === undefined ? undefined : Math.min(limit, this.#plan?.peakBytes ?? limit)
  }

  /** The device of now: a lost one is replaced. */
  get device(): Device {
    return this.#device
  }

  /** Where weights stay now: too little memory makes it tighter. */
  get offload(): ResolvedOffload {
    return this.#offload
  }

  /** Bytes that is planned within, where there is a budget or a guess at one. */
  get memoryBudget(): number | undefined {
    return this.#weightBudgets.budget
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
    const request = { device: this.#device, networks, here, dtype: this.dtype, vaeTiling: this.#vaeTiling, size }
    const key = JSON.stringify(size)
    const needs = this.#generationNeeds.get(key) ?? needsOn(request)
    this.#generationNeeds.set(key, needs)
    const heldBytes = heldOn(request, needs)
    if (heldBytes !== this.#heldBytes) this.#budgets.clear()
    this.#heldBytes = heldBytes
    this.#needs = needs
    this.#plan = this.#planFor(needs)
    const usual = this.#usualOffload
    this.#offload = this.#plan.residence
    this.#device.limitMemory(this.#limit)
    // Left from an image to image run, and not in the plan of one without.
    if (size.fromImage !== true)
      for (const name of networks.keys()) await this.#components.unloadVariant(name, { part: 'encoder' })
    if (this.#offload === usual) return
    const usually = `${formatBytes(this.#plan.maxMemory)} with offload ${usual}`
    run.warn(
      'over-budget',
      `Pictures of this size and number do not fit in ${usually}; these are made with offload ${this.#offload}.`,
    )
  }

  #planFor(needs: readonly ComponentNeeds[]): MemoryPlan {
    const { info: device } = this.#device
    const [offload, heldBytes, cpuMemory] = [this.#usualOffload, this.#heldBytes, this.#cpuMemory]
    const request = { offload, needs, heldBytes, cpuMemory, device }
    const { limit } = this.#weightBudgets
    if (limit !== this.#maxMemory) {
      // What the device was seen to have is no reason to refuse: with less than a plan takes, as little as possible is used.
      try {
        return planOn({ ...request, maxMemory: limit })
      } catch (error) {
        if (!isAquatintError(error) || error.code !== 'does-not-fit') throw error
      }
    }
    return planOn({ ...request, maxMemory: this.#maxMemory })
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
    const canTile = part !== undefined && this.#vaeTiling !== false && !this.#smallTiles.has(part)
    const room = this.#offload === 'block' ? this.#rooms.get(network.name) : undefined
    const canShrink = room !== undefined && room.bytes > room.least
    const setup = { residence: this.#offload, canStream: device.info.kind === 'webgpu', canShrink, canTile }
    const step = this.#ladder.next(error, setup, device)
    if (step.action === 'fail') throw step.error
    if (step.action === 'rebuild') return this.#rebuild(error, run)
    if (isAquatintError(error)) this.#learn(error)
    await this.#components.unload()
    if (step.action === 'tighten') {
      this.#usualOffload = step.residence
      this.#offload = step.residence
      run.warn('out-of-memory', `${network.name} did not fit into memory; from now on offload is ${step.residence}.`)
    } else if (step.action === 'shrink') {
      if (room !== undefined) this.#weightBudgets.shrink(room)
      run.warn('out-of-memory', `${network.name} did not fit into memory; from now on fewer of its weights stay.`, { once: true })
    } else if (part !== undefined) this.#smallTiles.add(part)
    this.#budgets.clear()
    if (this.#needs !== undefined) this.#plan = this.#planFor(this.#needs)
    device.limitMemory(this.#limit)
    device.reclaim()
  }

  /** The device has no more than it held when it refused a buffer. */
  #learn({ details: { live, bytes } }: AquatintError): void {
    if (typeof live === 'number' && typeof bytes === 'number') this.#weightBudgets.limitTo(live - bytes)
  }

  /** Opens a device in place of a lost one. What was on it comes from the cache again. */
  async #rebuild(error: unknown, run: Run): Promise<void> {
    const lost = this.#device
    const next = await openDevice({ kind: lost.info.name, total: this.#total })
    if (next.info.shaderF16 !== lost.info.shaderF16) {
      await next.dispose()
      throw error
    }
    next.limitMemory(this.#limit)
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
    if (this.#last !== what) this.device.trim()
    this.#last = what
    if (this.offload === 'block') await this.#setBudget(component, what, () => this.#runNeeds(network, shapes, variant))
    else if (component.weightBudget !== undefined) await component.setWeightBudget(undefined)
    return component.run(inputs, {
      signal: run.signal,
      onProgress: (loaded, total) => run.report({ type: 'weights', component: network.name, loaded, total }),
      variant: name,
    })
  }

  /**
   * Gives a component the room that runs of `what` leave for its weights. Where runs of several shapes take turns, such as tiles, the
   * least of those: what stays for one then stays for all. @throws DeviceError `does-not-fit`
   */
  async #setBudget(component: Component, what: string, needs: () => ComponentNeeds): Promise<void> {
    const room = this.#budgets.get(what) ?? this.#weightBudgets.room(needs(), this.#heldBytes)
    this.#budgets.set(what, room)
    this.#rooms.set(room.network, room)
    const { budget } = room
    const now = component.weightBudget
    const isLess = (now ?? Number.POSITIVE_INFINITY) <= (budget ?? Number.POSITIVE_INFINITY)
    const begun = this.#budgeted.has(component)
    this.#budgeted.add(component)
    if (now !== budget && !(begun && isLess)) await component.setWeightBudget(budget)
  }

  #runNeeds(network: Network, shapes: Shapes, variant: GraphVariant = {}): ComponentNeeds {
    const options = graphOptions(network, { device: this.device, dtype: this.dtype, granularity: 'block' })
    return networkNeeds(network, shapes, options, variant)
  }

  /**
   * Edge in latent pixels of the tiles in which a half of an autoencoder works on an image of this size in latent pixels: as the generation
   * that was made ready for is planned, or the smallest where memory has run out. Undefined: on the whole.
   */
  vaeTile(vae: Network, size: Extent, part: VaePart): number | undefined {
    const choices = tileChoices(vae.config, size, this.#vaeTiling)
    if (this.#smallTiles.has(part)) return choices.at(-1)
    const planned = this.#plan?.components.find(({ name, part: half = 'decoder' }) => name === vae.name && half === part)
    return planned === undefined ? choices[0] : planned.tile
  }

  /**
   * After a generation: one component at a time means none between generations, graphs of rare variants are not kept, and neither are buffers
   * for reuse, since the next may be of another size.
   */
  async settle(): Promise<void> {
    if (this.offload !== 'resident') await this.#components.unload()
    await this.#components.dropRare()
    this.#budgeted.clear()
    this.device.reclaim()
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
