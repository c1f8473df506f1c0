/**
 * The memory half of a {@link ComponentHost}: how weights stay on its device, the plan of the current generation, the weight budget of each
 * run and the tiles of the autoencoder, and how all of these get smaller when the device runs out of memory. It loads and runs nothing.
 */

import type { AutoencoderModel, Extent, GraphVariant } from '../../models/types.js'
import { isAquatintError, type AquatintError } from '../../errors.js'
import type { ComponentNeeds } from '../../memory/needs.js'
import { guessBudget, type MemoryPlan } from '../../memory/plan.js'
import type { Recovery, Setup } from '../../runtime/recovery.js'
import { formatBytes } from '../../util/format-bytes.js'
import type { Shapes } from '../../onnx/types.js'
import { graphOptions, type Network } from '../bind-network.js'
import { tileChoices } from '../latent-geometry.js'
import { heldOn, needsOn, networkNeeds, type GenerationSize } from '../planning/memory-needs.js'
import { planOn, type ResolvedOffload } from '../planning/residence.js'
import { WeightBudgets, type WeightRoom } from '../planning/weight-budgets.js'
import type { Run } from '../run.js'
import type { DTypeName } from '../types.js'
import type { Device } from '../../runtime/device.js'
import type { BoundNetwork } from '../../runtime/bound-network.js'

export interface HostPlanOptions {
  readonly device: Device
  readonly dtype: DTypeName
  readonly offload: ResolvedOffload
  /** Bytes of GPU buffers to stay within. */
  readonly maxMemory: number | undefined
  /** Bytes for weights on a CPU; WebAssembly's heap unless set. */
  readonly cpuMemory?: number | undefined
  /** Whether autoencoders work in tiles; undefined: where the whole would not fit. */
  readonly vaeTiling?: boolean | undefined
  /** Bytes of tensors that stay on the device while others run; 0 unless set. */
  readonly heldBytes?: number | undefined
}

/** The halves of an autoencoder: they run apart, with weights of their own. */
export type VaePart = 'encoder' | 'decoder'

/** One run of a network's graph, as far as its weight budget depends on it. */
export interface PlannedRun {
  readonly network: Network
  readonly shapes: Shapes
  readonly variant: GraphVariant
}

export class HostPlan {
  readonly #dtype: DTypeName
  /** Where weights stay when the generation fits, and where they stay in this generation. */
  #usualOffload: ResolvedOffload
  #offload: ResolvedOffload
  /** The halves of the autoencoder that work in the smallest tiles since memory ran out. */
  readonly #smallTiles = new Set<VaePart>()
  readonly #maxMemory: number | undefined
  readonly #cpuMemory: number | undefined
  /** `maxMemory`, or without one a guess on a GPU, or what the GPU turned out to have. */
  readonly #weightBudgets: WeightBudgets
  readonly #vaeTiling: boolean | undefined
  #heldBytes: number
  /** The needs and the plan of the generation that was prepared last. */
  #needs: readonly ComponentNeeds[] | undefined
  #plan: MemoryPlan | undefined
  /** The needs of generations, by size. */
  readonly #generationNeeds = new Map<string, readonly ComponentNeeds[]>()
  /** The weight budgets of networks whose blocks are streamed, by run. */
  readonly #budgets = new Map<string, WeightRoom>()
  /** The weight budget of each network's last run. */
  readonly #rooms = new Map<string, WeightRoom>()
  /** Components that were given a weight budget in this generation. */
  readonly #budgeted = new Set<BoundNetwork>()

  constructor(options: HostPlanOptions) {
    const { info } = options.device
    this.#dtype = options.dtype
    this.#usualOffload = options.offload
    this.#offload = options.offload
    this.#maxMemory = options.maxMemory
    this.#cpuMemory = options.cpuMemory
    this.#weightBudgets = new WeightBudgets(options.maxMemory, info.kind === 'webgpu' ? guessBudget(info) : undefined)
    this.#vaeTiling = options.vaeTiling
    this.#heldBytes = options.heldBytes ?? 0
  }

  /** Bytes that buffers kept for reuse may fill: no more than the plan's peak, and than the budget. Undefined: there is no budget. */
  get limit(): number | undefined {
    const { limit } = this.#weightBudgets
    return limit === undefined ? undefined : Math.min(limit, this.#plan?.peakBytes ?? limit)
  }

  /** Where weights stay in this generation: too little memory makes it tighter. */
  get offload(): ResolvedOffload {
    return this.#offload
  }

  /** Bytes that plans stay within: the budget, or a guess at one on a GPU. */
  get memoryBudget(): number | undefined {
    return this.#weightBudgets.budget
  }

  /**
   * Plans a generation of a size on the networks that are `here`. When it does not fit in `maxMemory` with the usual offload, this
   * generation uses a tighter one, with a warning.
   * @throws DeviceError `does-not-fit` with bytes needed and offered, `buffer-too-large` with the tensor
   */
  fit(
    device: Device,
    networks: ReadonlyMap<string, Network>,
    here: (network: string) => boolean,
    size: GenerationSize,
    run: Run,
  ): void {
    const request = { device, networks, here, dtype: this.#dtype, vaeTiling: this.#vaeTiling, size }
    const key = JSON.stringify(size)
    const needs = this.#generationNeeds.get(key) ?? needsOn(request)
    this.#generationNeeds.set(key, needs)
    const heldBytes = heldOn(request, needs)
    if (heldBytes !== this.#heldBytes) this.#budgets.clear()
    this.#heldBytes = heldBytes
    this.#needs = needs
    this.#plan = this.#planFor(needs, device)
    const usual = this.#usualOffload
    this.#offload = this.#plan.residence
    if (this.#offload === usual) return
    const usually = `${formatBytes(this.#plan.maxMemory)} with offload ${usual}`
    run.warn(
      'over-budget',
      `Pictures of this size and number do not fit in ${usually}; these are made with offload ${this.#offload}.`,
    )
  }

  #planFor(needs: readonly ComponentNeeds[], { info: device }: Device): MemoryPlan {
    const [offload, heldBytes, cpuMemory] = [this.#usualOffload, this.#heldBytes, this.#cpuMemory]
    const request = { offload, needs, heldBytes, cpuMemory, device }
    const { limit } = this.#weightBudgets
    if (limit !== this.#maxMemory) {
      // What the device turned out to have is no reason to refuse: with less than a plan takes, as little as possible is used.
      try {
        return planOn({ ...request, maxMemory: limit })
      } catch (error) {
        if (!isAquatintError(error) || error.code !== 'does-not-fit') throw error
      }
    }
    return planOn({ ...request, maxMemory: this.#maxMemory })
  }

  /** How a network runs, and what it could do with less of. `part`: the half of an autoencoder that works. */
  setup(network: Network, part: VaePart | undefined, { info }: Device): Setup {
    const canTile = part !== undefined && this.#vaeTiling !== false && !this.#smallTiles.has(part)
    const room = this.#offload === 'block' ? this.#rooms.get(network.name) : undefined
    const canShrink = room !== undefined && room.bytes > room.least
    return { residence: this.#offload, canStream: info.kind === 'webgpu', canShrink, canTile }
  }

  /** Plans with less memory, as a step of the recovery says, after a network ran out of it on `device`. */
  lower(step: Recovery, error: unknown, network: Network, part: VaePart | undefined, device: Device, run: Run): void {
    if (isAquatintError(error)) this.#learn(error)
    if (step.action === 'tighten') {
      this.#usualOffload = step.residence
      this.#offload = step.residence
      run.warn('out-of-memory', `${network.name} did not fit into memory; from now on offload is ${step.residence}.`)
    } else if (step.action === 'shrink') {
      const room = this.#rooms.get(network.name)
      if (room !== undefined) this.#weightBudgets.shrink(room)
      run.warn('out-of-memory', `${network.name} did not fit into memory; from now on fewer of its weights stay.`, { once: true })
    } else if (part !== undefined) this.#smallTiles.add(part)
    this.#budgets.clear()
    if (this.#needs !== undefined) this.#plan = this.#planFor(this.#needs, device)
  }

  /** The device has no more than it held when it refused a buffer. */
  #learn({ details: { live, bytes } }: AquatintError): void {
    if (typeof live === 'number' && typeof bytes === 'number') this.#weightBudgets.limitTo(live - bytes)
  }

  /**
   * Gives a component its weight budget for a run; `key` names the run. Runs of several shapes may alternate, as tiles do: the component then
   * keeps the smallest of their budgets, so that what stays for one stays for all. @throws DeviceError `does-not-fit`
   */
  async setWeightBudget(component: BoundNetwork, key: string, run: PlannedRun, device: Device): Promise<void> {
    if (this.#offload !== 'block') {
      if (component.weightBudget !== undefined) await component.setWeightBudget(undefined)
      return
    }
    const room = this.#budgets.get(key) ?? this.#weightBudgets.room(this.#runNeeds(run, device), this.#heldBytes)
    this.#budgets.set(key, room)
    this.#rooms.set(room.network, room)
    const { budget } = room
    const now = component.weightBudget
    const isLess = (now ?? Number.POSITIVE_INFINITY) <= (budget ?? Number.POSITIVE_INFINITY)
    const begun = this.#budgeted.has(component)
    this.#budgeted.add(component)
    if (now !== budget && !(begun && isLess)) await component.setWeightBudget(budget)
  }

  #runNeeds({ network, shapes, variant }: PlannedRun, device: Device): ComponentNeeds {
    const options = graphOptions(network, { device, dtype: this.#dtype, granularity: 'block' })
    return networkNeeds(network, shapes, options, variant)
  }

  /**
   * Edge in latent pixels of the tiles in which a half of an autoencoder works on an image of this size in latent pixels: the plan's for the
   * prepared generation, or the smallest one since memory ran out. Undefined: on the whole.
   */
  vaeTile(vae: Network<AutoencoderModel>, size: Extent, part: VaePart): number | undefined {
    const choices = tileChoices(vae.model, size, this.#vaeTiling)
    if (this.#smallTiles.has(part)) return choices.at(-1)
    const planned = this.#plan?.components.find(({ name, part: half = 'decoder' }) => name === vae.name && half === part)
    return planned === undefined ? choices[0] : planned.tile
  }

  /** After a generation: the next one may give components larger weight budgets. */
  settle(): void {
    this.#budgeted.clear()
  }
}
