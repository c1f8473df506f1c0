/**
 * Plans the memory of a {@link ComponentHost}: its offload mode, the plan of the current generation, the weight budget of each run and the
 * tiles of the autoencoder. After the device runs out of memory, it plans with less. It loads and runs nothing.
 */

import type { AutoencoderModel, Extent } from '../../models/types.js'
import { isAquatintError, type AquatintError } from '../../errors.js'
import type { DeviceBudget } from '../../memory/budget.js'
import { MemoryLimit, type KnownMemory } from '../../memory/memory-limit.js'
import { isRefusal, orThrow, type Refusal } from '../../memory/refusal.js'
import type { ComponentNeeds } from '../../memory/needs.js'
import {
  canShrink,
  guessBudget,
  type ComponentPlan,
  type MemoryPlan,
  type Residence,
  type WeightPlan,
} from '../../memory/plan.js'
import type { RecoveryStep, Setup } from '../../runtime/recovery.js'
import { formatBytes } from '../../util/format-bytes.js'
import type { Network } from '../bind-network.js'
import { tileChoices } from '../latent-geometry.js'
import { heldOn, needsOn, type GenerationSize } from '../planning/memory-needs.js'
import { planOn } from '../planning/residence.js'
import type { Run } from '../run.js'
import type { DTypeName } from '../types.js'
import type { Device } from '../../runtime/device.js'

export interface HostPlanOptions {
  readonly device: Device
  readonly dtype: DTypeName
  readonly offload: Residence
  /** The memory that the caller allows on the device. */
  readonly budget?: DeviceBudget | undefined
  /** Whether autoencoders use tiles; undefined: only if the whole image would not fit. */
  readonly vaeTiling?: boolean | undefined
  /** Bytes of tensors that stay on the device while networks run; 0 unless set. */
  readonly heldBytes?: number | undefined
}

/** The encoder and the decoder of an autoencoder run separately, and each has its own weights. */
export type VaePart = 'encoder' | 'decoder'

export class HostPlan {
  readonly #dtype: DTypeName
  /** The offload mode for generations that fit, and the mode of this generation. */
  #usualOffload: Residence
  #offload: Residence
  /** Which of the autoencoder's encoder and decoder work in the smallest tiles, because memory ran out. */
  readonly #smallTiles = new Set<VaePart>()
  readonly #budget: DeviceBudget
  readonly #countsActivations: boolean
  readonly #memory: MemoryLimit
  readonly #vaeTiling: boolean | undefined
  #heldBytes: number
  /** The needs and the plan of the generation that was prepared last. */
  #needs: readonly ComponentNeeds[] | undefined
  #plan: MemoryPlan | undefined
  /** The needs of generations, by their size and the versions of the adapters. */
  readonly #generationNeeds = new Map<string, readonly ComponentNeeds[]>()

  constructor(options: HostPlanOptions) {
    const { info } = options.device
    this.#dtype = options.dtype
    this.#usualOffload = options.offload
    this.#offload = options.offload
    this.#budget = options.budget ?? {}
    this.#countsActivations = info.capabilities.countsActivations
    this.#memory = new MemoryLimit(this.#budget.limit, this.#countsActivations ? guessBudget(info) : undefined)
    this.#vaeTiling = options.vaeTiling
    this.#heldBytes = options.heldBytes ?? 0
  }

  /**
   * Above this many bytes of live buffers, the device frees the buffers kept for reuse: the plan's peak or the budget, whichever is less.
   * Undefined if there is neither.
   */
  get limit(): number | undefined {
    const { limit } = this.#memory
    const planned = this.#countsActivations ? this.#plan?.peakBytes : undefined
    return limit === undefined || planned === undefined ? (limit ?? planned) : Math.min(limit, planned)
  }

  /** The offload mode of this generation. After memory ran out, it is a mode that keeps less on the device. */
  get offload(): Residence {
    return this.#offload
  }

  /**
   * The bytes that plans stay within. On a GPU: the budget, or a guess if there is none. On a CPU: the `maxMemory` for all devices, which
   * decides whether tiles are used; undefined if the caller set none.
   */
  get memoryBudget(): number | undefined {
    return this.#countsActivations ? this.#memory.bytes : this.#budget.target
  }

  /**
   * Plans a generation of a size for the networks that `here` accepts. If it does not fit in `maxMemory` with the usual offload mode, this
   * generation uses one that keeps less on the device, with a warning.
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
    const adapters = [...networks.values()].map((network) => network.adapters?.version ?? '')
    const key = JSON.stringify([size, adapters])
    const needs = this.#generationNeeds.get(key) ?? needsOn(request)
    this.#generationNeeds.set(key, needs)
    const heldBytes = heldOn(request, needs)
    this.#heldBytes = heldBytes
    this.#needs = needs
    this.#plan = orThrow(this.#planFor(needs, device))
    const usual = this.#usualOffload
    this.#offload = this.#plan.residence
    if (this.#offload === usual) return
    const usually = `${formatBytes(this.#plan.maxMemory)} with offload ${usual}`
    run.warn(
      'over-budget',
      `Pictures of this size and number do not fit in ${usually}; these are made with offload ${this.#offload}.`,
    )
  }

  #planFor(all: readonly ComponentNeeds[], { info: device }: Device): MemoryPlan | Refusal {
    const needs = all.map((one) => (this.#smallTiles.has(one.part ?? 'decoder') ? { ...one, ways: one.ways.slice(-1) } : one))
    const request = { offload: this.#usualOffload, needs, heldBytes: this.#heldBytes, device }
    const planWith = ({ maxMemory, ...known }: KnownMemory) =>
      planOn({ ...request, ...known, budget: { ...this.#budget, limit: maxMemory } })
    const found = this.#memory.found === undefined ? undefined : planWith(this.#memory.found)
    return found === undefined || isRefusal(found) ? planWith(this.#memory.allowed) : found
  }

  /** How a network runs, and what the recovery could still reduce for it. `part`: whether an autoencoder encodes or decodes. */
  setup(network: Network, part: VaePart | undefined, { info }: Device): Setup {
    const canTile = part !== undefined && this.#vaeTiling !== false && !this.#smallTiles.has(part)
    const planned = this.#offload === 'block' ? this.#componentPlan(network.name, part) : undefined
    return {
      residence: this.#offload,
      canStream: info.capabilities.streamsWeights,
      canShrink: planned !== undefined && canShrink(planned),
      canTile,
    }
  }

  /** Carries out a recovery step after a network ran out of memory on `device`: from now on, plans use less memory. */
  lower(step: RecoveryStep, error: unknown, network: Network, part: VaePart | undefined, device: Device, run: Run): void {
    if (isAquatintError(error)) this.#learn(error)
    if (step.action === 'tighten') {
      this.#usualOffload = step.residence
      this.#offload = step.residence
      run.warn('out-of-memory', `${network.name} did not fit into memory; from now on offload is ${step.residence}.`)
    } else if (step.action === 'shrink') {
      const planned = this.#componentPlan(network.name, part)
      if (planned !== undefined) this.#memory.shrink(network.name, planned.weightBudget ?? planned.weightBytes)
      run.warn('out-of-memory', `${network.name} did not fit into memory; from now on fewer of its weights stay loaded.`, {
        once: true,
      })
    } else if (part !== undefined) this.#smallTiles.add(part)
    if (this.#needs !== undefined) this.#plan = orThrow(this.#planFor(this.#needs, device))
  }

  /** Lowers the limit to the bytes that the device held when it refused a buffer. */
  #learn({ details: { live, bytes } }: AquatintError): void {
    if (typeof live === 'number' && typeof bytes === 'number') this.#memory.limitTo(live - bytes)
  }

  /**
   * The part of the plan by which a network's weights are loaded in this generation, for runs of all shapes. `part`: whether an autoencoder encodes or decodes.
   * Undefined: all weights stay while the network is loaded. It is also undefined before a generation was planned.
   */
  weightPlan(network: string, part: VaePart | undefined): WeightPlan | undefined {
    if (this.#offload !== 'block') return undefined
    const planned = this.#componentPlan(network, part)
    return planned?.weightBudget === undefined ? undefined : planned
  }

  #componentPlan(network: string, part: VaePart = 'decoder'): ComponentPlan | undefined {
    return this.#plan?.components.find(({ name, part: half = 'decoder' }) => name === network && half === part)
  }

  /**
   * The edge of the tiles in which the autoencoder's encoder or decoder processes an image of this size. Edge and size are in latent pixels. It is
   * the plan's edge for the prepared generation, or the smallest one once memory has run out. Undefined: the image is processed as a whole.
   */
  vaeTile(vae: Network<AutoencoderModel>, size: Extent, part: VaePart): number | undefined {
    const choices = tileChoices(vae.model, size, this.#vaeTiling)
    if (this.#smallTiles.has(part)) return choices.at(-1)
    const planned = this.#componentPlan(vae.name, part)
    return planned === undefined ? choices[0] : planned.tile
  }
}
