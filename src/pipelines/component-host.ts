/**
 * One device of a loaded pipeline: a component for each network on it (and for each variant of its graph), and which of them keep their
 * weights. Makes room before a network runs and gives everything back at the end.
 */

import { throwIfAborted } from '../util/abort.js'
import { openDevice } from '../runtime/open-device.js'
import { RecoveryLadder } from '../runtime/recovery.js'
import type { MemoryAccount } from '../runtime/memory-account.js'
import type { Component, Device, DeviceTensor, HostTensor, Shapes } from '../runtime/types.js'
import { isAquatintError } from '../errors.js'
import { tileChoices, type Extent } from './vae-tiling.js'
import type { ComponentNeeds } from '../runtime/memory-estimate.js'
import { guessBudget, leastWeightBudget, planMemory, type MemoryPlan } from '../runtime/memory-plan.js'
import { formatBytes } from '../util/format-bytes.js'
import { heldOn, needsOn, networkNeeds, type GenerationSize } from './memory-needs.js'
import { bindNetwork, graphOptions, type GraphVariant, type Network } from './networks.js'
import { planOn, type ResolvedOffload } from './offload.js'
import type { Run } from './run-hooks.js'
import type { DTypeName } from './types.js'

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

function componentKey(network: string, variant: GraphVariant): string {
  return `${network} ${JSON.stringify(variant)}`
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
  /** What is planned with: `maxMemory`, or a guess on a GPU without one. */
  readonly #budget: number | undefined
  readonly #vaeTiling: boolean | undefined
  #heldBytes: number
  /** Of the generation that was made ready for last. */
  #plan: MemoryPlan | undefined
  /** What generations of a size need, by size. */
  readonly #generationNeeds = new Map<string, readonly ComponentNeeds[]>()
  readonly #total: MemoryAccount | undefined
  /** Of the networks whose blocks are streamed, for each set of shapes. */
  readonly #budgets = new Map<string, number | undefined>()
  /** The budget that a component has now. */
  readonly #given = new Map<Component, number | undefined>()
  readonly #components = new Map<string, Component>()
  /** Components whose graphs are not all of the plain kind, by key: variants by the shapes of their runs. */
  readonly #variants = new Map<string, Map<string, GraphVariant>>()

  constructor(options: HostOptions) {
    this.#device = options.device
    this.dtype = options.dtype
    this.#usualOffload = options.offload
    this.#offload = options.offload
    this.#maxMemory = options.maxMemory
    this.#cpuMemory = options.cpuMemory
    this.#budget = options.maxMemory ?? (this.device.info.kind === 'webgpu' ? guessBudget(this.device.info) : undefined)
    this.#vaeTiling = options.vaeTiling
    this.#heldBytes = options.heldBytes ?? 0
    this.#total = options.total
    this.device.limitMemory(this.#limit)
  }

  /** What buffers that are kept for reuse may fill: within a budget, no more than the plan says. */
  get #limit(): number | undefined {
    return this.#maxMemory === undefined ? undefined : (this.#plan?.peakBytes ?? this.#maxMemory)
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
    return this.#budget
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
    const usual = this.#usualOffload
    const { info: device } = this.#device
    const [maxMemory, cpuMemory] = [this.#maxMemory, this.#cpuMemory]
    this.#plan = planOn({ offload: usual, needs, heldBytes, maxMemory, cpuMemory, device })
    this.#offload = this.#plan.residence
    this.#device.limitMemory(this.#limit)
    // Left from an image to image run, and not in the plan of one without.
    if (size.fromImage !== true)
      for (const name of networks.keys()) await this.#components.get(componentKey(name, { part: 'encoder' }))?.unload()
    if (this.#offload === usual) return
    const usually = `${formatBytes(this.#plan.maxMemory)} with offload ${usual}`
    run.warn(
      'over-budget',
      `Pictures of this size and number do not fit in ${usually}; these are made with offload ${this.#offload}.`,
    )
  }

  #component(network: Network, variant: GraphVariant, shapes: Shapes): Component {
    const { skipLayers, ...other } = variant
    const key = componentKey(network.name, other)
    if (skipLayers !== undefined || 'hiddenState' in other) {
      // Leaving blocks out needs no other weights, so it shares the component, and its shapes tell it apart.
      const byShapes = this.#variants.get(key) ?? new Map<string, GraphVariant>()
      byShapes.set(JSON.stringify(shapes), variant)
      this.#variants.set(key, byShapes)
    }
    let component = this.#components.get(key)
    if (component === undefined) {
      const { device, dtype } = this
      component = bindNetwork(network, {
        device,
        dtype,
        // Equal blocks share a compiled program on a GPU; on the CPU a session holds its weights, so one is best.
        granularity: device.info.kind === 'webgpu' ? 'block' : 'component',
        variantOf: (asked) => this.#variants.get(key)?.get(JSON.stringify(asked)) ?? other,
      })
      this.#components.set(key, component)
    }
    return component
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
   * half of an autoencoder that works, which can do so in smaller tiles.
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
      try {
        return await work()
      } catch (error) {
        throwIfAborted(run.signal)
        await this.#recover(error, network, run, part)
      }
    }
  }

  /** Makes ready for another try, or throws what there is left to say. */
  async #recover(error: unknown, network: Network, run: Run, part: VaePart | undefined): Promise<void> {
    const wasTiled = part !== undefined && this.#smallTiles.has(part)
    const step = this.#ladder.next(error, { residence: this.#offload, tiled: wasTiled })
    if (step.action === 'fail') throw step.error
    if (step.action === 'rebuild') return this.#rebuild(error, run)
    const { residence, tiled } = step.setup
    if (tiled !== wasTiled) {
      if (part !== undefined) this.#smallTiles.add(part)
      // Who works in tiles asks again for their size; for other networks they change nothing.
      throw error
    }
    if (this.#device.info.kind === 'wasm' && residence === 'block') throw error
    for (const component of this.#components.values()) await component.unload()
    this.#usualOffload = residence
    this.#offload = residence
    run.warn('out-of-memory', `${network.name} did not fit into memory; from now on offload is ${residence}.`)
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
    for (const component of this.#components.values()) await component.moveTo(next)
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
    const shapes = Object.fromEntries(Object.entries(inputs).map(([name, tensor]) => [name, tensor.dims]))
    const component = this.#component(network, variant, shapes)
    if (this.offload !== 'resident') await this.#unloadAllBut(component)
    if (this.offload === 'block') await this.#setBudget(component, network, shapes, variant)
    return component.run(inputs, {
      signal: run.signal,
      onProgress: (loaded, total) => run.report({ type: 'weights', component: network.name, loaded, total }),
    })
  }

  /** Gives a component the room that runs of these shapes leave for its weights. @throws DeviceError `does-not-fit` */
  async #setBudget(component: Component, network: Network, shapes: Shapes, variant: GraphVariant): Promise<void> {
    const key = JSON.stringify([network.name, shapes])
    if (!this.#budgets.has(key)) {
      this.#budgets.set(key, this.#weightBudget(this.#needs(network, shapes, variant)))
    }
    const budget = this.#budgets.get(key)
    if (this.#given.get(component) === budget) return
    await component.setWeightBudget(budget)
    this.#given.set(component, budget)
  }

  #needs(network: Network, shapes: Shapes, variant: GraphVariant = {}): ComponentNeeds {
    const options = graphOptions(network, { device: this.device, dtype: this.dtype, granularity: 'block' })
    return networkNeeds(network, shapes, options, variant)
  }

  /** Weights' room beside a run. A guessed budget that is too small is no reason to refuse: then as little as possible is used. */
  #weightBudget(needs: ComponentNeeds): number | undefined {
    try {
      const maxMemory = this.#budget ?? Number.MAX_SAFE_INTEGER
      const plan = planMemory([needs], { offload: 'block', maxMemory, heldBytes: this.#heldBytes })
      return plan.components[0]?.weightBudget
    } catch (error) {
      if (this.#maxMemory === undefined && isAquatintError(error)) return leastWeightBudget(needs)
      throw error
    }
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

  /** After a generation: one component at a time means none between generations, and graphs of rare variants are not kept. */
  async settle(): Promise<void> {
    if (this.offload !== 'resident') await this.#unloadAllBut(undefined)
    for (const key of this.#variants.keys()) {
      const component = this.#components.get(key)
      this.#components.delete(key)
      if (component !== undefined) this.#given.delete(component)
      await component?.dispose()
    }
    this.#variants.clear()
  }

  /** Unloads the other networks unless all may stay: what is put on the device for this one needs their room. */
  async makeRoomFor(network: Network): Promise<void> {
    if (this.offload === 'resident') return
    for (const other of this.#components.values()) if (other.name !== network.name && other.isLoaded) await other.unload()
  }

  async #unloadAllBut(kept: Component | undefined): Promise<void> {
    for (const other of this.#components.values()) if (other !== kept && other.isLoaded) await other.unload()
  }

  /** Gives back all components and the device. */
  async dispose(): Promise<void> {
    for (const component of this.#components.values()) await component.dispose()
    this.#components.clear()
    await this.device.dispose()
  }
}
