/**
 * One network's weights on a GPU. Without a budget, all of them stay there. Under a budget, some stay, and each run uploads the other
 * blocks into a ring of buffers. If two blocks fit, the next one is uploaded while one runs. The plan (memory/plan.ts) decides which blocks
 * stay.
 */

import type { WeightTable } from '../../checkpoint/types.js'
import { DeviceError } from '../../errors.js'
import type { WeightPlan } from '../../memory/plan.js'
import type { ComponentGraph, Stage } from '../../onnx/types.js'
import type { LoadOptions } from '../types.js'
import type { GpuRuntime } from './gpu-runtime.js'
import { uploadWeights } from './webgpu-upload.js'
import { planStreaming } from '../../memory/blocks.js'
import { bufferBytes, countOnce, stageWeights, tensorOf, weightsOf, type WeightKey } from '../../memory/needs.js'

type Buffers = ReadonlyMap<string, GPUBuffer>

/** A stage whose weights each run uploads into the ring. */
interface StreamedStage {
  /** Identifies the stage's weights: a stage of another graph with the same weights has the same key. */
  readonly key: string
  readonly weights: readonly WeightKey[]
}

/** How a graph runs within a budget. */
interface Streaming {
  /** The streamed stages. */
  readonly stages: ReadonlyMap<Stage, StreamedStage>
  readonly order: readonly StreamedStage[]
  /** The first streamed stage of a run that follows another run. */
  readonly first: StreamedStage | undefined
  readonly overlaps: boolean
}

/** The weights of one network on one GPU. */
export class WebGpuWeights {
  readonly #device: GpuRuntime
  readonly #name: string
  readonly #table: WeightTable
  #graph: ComponentGraph | undefined
  #kept = new Map<string, GPUBuffer>()
  #streaming: Streaming | undefined
  /** Weights of streamed stages that are uploaded or being uploaded. */
  readonly #slots = new Map<string, Promise<Buffers>>()
  /** Buffers of the ring that can be overwritten. */
  readonly #spare: GPUBuffer[] = []
  #stop = new AbortController()
  /** Whether a run has reached its last streamed stage. When the next run reaches it too, further runs are likely to follow. */
  #again = false

  constructor(device: GpuRuntime, name: string, table: WeightTable) {
    this.#device = device
    this.#name = name
    this.#table = table
  }

  /** Whether weights are on the device. */
  get isLoaded(): boolean {
    return this.#graph !== undefined || this.#kept.size > 0
  }

  /**
   * Loads the weights that stay for `graph`. Weights that the previous graph has loaded and this one uses stay too. If the load fails, the previous graph's
   * weights are unchanged or, if one of the two graphs streams weights, none are left.
   * @throws DeviceError `does-not-fit` when the graph is not the planned one and its blocks do not fit beside what the plan keeps
   */
  async load(graph: ComponentGraph, plan: WeightPlan | undefined, options: LoadOptions): Promise<void> {
    if (this.#graph === graph) return
    this.#dropRemoved()
    const wanted = weightsOf(graph.stages, this.#table)
    const budget = plan?.weightBudget
    if (budget !== undefined && this.#streaming !== undefined) {
      const beside = this.#besideKept(graph, budget)
      if (beside !== undefined) {
        this.#graph = graph
        this.#streaming = beside
        return
      }
    }
    let streaming: Streaming | undefined
    if (plan !== undefined && budget !== undefined && bufferBytes(wanted.values()) > budget) {
      const own = this.#streamedOf(graph.stages, plan)
      for (const keys of own) for (const { key } of keys) wanted.delete(key)
      streaming = this.#streamWithin(graph.stages, own, budget - bufferBytes(wanted.values()))
    }
    // Another graph's plan may keep other blocks: both together could be over the budget.
    if (streaming !== undefined || this.#streaming !== undefined) await this.unload()
    const missing = [...wanted.values()].filter(({ key }) => !this.#kept.has(key))
    const made = await uploadWeights(this.#device, this.#name, missing, options)
    for (const [key, buffer] of made) this.#kept.set(key, buffer)
    // The upload is only queued: the weights are loaded when the GPU has executed it.
    await this.#device.orLost(this.#device.buffers.submittedWorkDone())
    this.#graph = graph
    this.#streaming = streaming
  }

  /**
   * Frees the weights whose tensors are no longer in the table: tensors of adapters that are not used any more, and tensors that were
   * replaced by ones with other LoRAs.
   */
  #dropRemoved(): void {
    for (const [key, buffer] of this.#kept) {
      const tensor = tensorOf(key)
      if (this.#table.get(tensor)?.name === tensor) continue
      buffer.destroy()
      this.#kept.delete(key)
    }
  }

  /** For each stage, the weights that each run uploads: those of blocks that do not stay according to the plan. */
  #streamedOf(stages: readonly Stage[], plan: WeightPlan): readonly (readonly WeightKey[])[] {
    const kept = new Set(plan.blocks.flatMap(({ name, place }) => (place === 'kept' ? [name] : [])))
    return stageWeights(stages, this.#table).own.map((keys, index) => (kept.has(stages[index]?.name ?? '') ? [] : keys))
  }

  /**
   * Plans how each stage's `own` weights are streamed within `bytes`. If two stages' weights fit, the next stage's are uploaded while a
   * stage runs.
   * @throws DeviceError `does-not-fit`
   */
  #streamWithin(stages: readonly Stage[], own: readonly (readonly WeightKey[])[], bytes: number): Streaming {
    const sizes = own.map(bufferBytes)
    const plan = planStreaming(sizes, bytes, countOnce(stages))
    if (plan !== undefined) return streamed(stages, own, plan.overlaps)
    const needed = Math.max(...sizes)
    const message = `${this.#name} needs ${needed} bytes for its largest block; ${bytes} are left for weights.`
    throw new DeviceError('does-not-fit', message, { component: this.#name, needed, offered: bytes })
  }

  /**
   * Plans how to run another graph without freeing the weights that the device keeps for the loaded graph: each run uploads the missing
   * weights. Otherwise two graphs that alternate would load the same weights again and again. Undefined if the plan exceeds the budget, or
   * if the device does not keep a weight that several stages of the new graph use.
   */
  #besideKept({ stages }: ComponentGraph, budget: number): Streaming | undefined {
    const { own, shared } = stageWeights(stages, this.#table)
    if (shared.some(({ key }) => !this.#kept.has(key))) return undefined
    const missing = own.map((keys) => keys.filter(({ key }) => !this.#kept.has(key)))
    const keptBytes = [...this.#kept.values()].reduce((sum, { size }) => sum + size, 0)
    const plan = planStreaming(missing.map(bufferBytes), budget - keptBytes, countOnce(stages))
    return plan === undefined ? undefined : streamed(stages, missing, plan.overlaps)
  }

  /** A stage's buffers by weight key, which stay until {@link release}. Starts the upload of the next streamed stage. */
  async acquire(stage: Stage, signal: AbortSignal | undefined): Promise<Buffers> {
    const streaming = this.#streaming
    const now = streaming?.stages.get(stage)
    if (streaming === undefined || now === undefined) return this.#kept
    const { order, first, overlaps } = streaming
    // A run that did not finish may have left other stages' buffers. The budget has no space for new ones beside them: reuse them.
    if (!this.#slots.has(now.key)) await this.#clearSlots()
    const here = await this.#begin(now, signal)
    const at = order.indexOf(now) + 1
    const next = order[at] ?? first
    const follows = at < order.length || this.#again
    if (at === order.length) this.#again = true
    if (overlaps && follows && next !== undefined && next !== now) this.#begin(next, signal).catch(() => {})
    return new Map([...this.#kept, ...here])
  }

  /** Records that the commands that use a stage's buffers have been submitted. */
  async release(stage: Stage): Promise<void> {
    const key = this.#streaming?.stages.get(stage)?.key ?? ''
    const slot = this.#slots.get(key)
    if (slot === undefined) return
    this.#slots.delete(key)
    this.#spare.push(...(await slot).values())
  }

  async unload(): Promise<void> {
    this.#stop.abort()
    this.#stop = new AbortController()
    await this.#clearSlots()
    for (const buffer of [...this.#kept.values(), ...this.#spare.splice(0)]) buffer.destroy()
    this.#kept.clear()
    this.#graph = undefined
    this.#streaming = undefined
    this.#again = false
  }

  /** Starts the upload of a streamed stage's weights into spare buffers of the ring. */
  #begin({ key, weights }: StreamedStage, signal: AbortSignal | undefined): Promise<Buffers> {
    const known = this.#slots.get(key)
    if (known !== undefined) return known
    const stop = signal === undefined ? this.#stop.signal : AbortSignal.any([signal, this.#stop.signal])
    const slot = uploadWeights(this.#device, this.#name, weights, { signal: stop, spare: this.#spare })
    this.#slots.set(key, slot)
    slot.catch(() => {
      if (this.#slots.get(key) === slot) this.#slots.delete(key)
    })
    return slot
  }

  /** Waits for the current uploads and makes their buffers spare. */
  async #clearSlots(): Promise<void> {
    const slots = [...this.#slots.values()]
    this.#slots.clear()
    for (const settled of await Promise.allSettled(slots))
      if (settled.status === 'fulfilled') this.#spare.push(...settled.value.values())
  }
}

/** How the stages that have weights to upload are streamed. `own` lists these weights for each of `stages`. */
function streamed(stages: readonly Stage[], own: readonly (readonly WeightKey[])[], overlaps: boolean): Streaming {
  const found = new Map<Stage, StreamedStage>()
  for (const [index, stage] of stages.entries()) {
    const weights = own[index] ?? []
    if (weights.length > 0) found.set(stage, { key: weights.map(({ key }) => key).join('\n'), weights })
  }
  const first = [...found].find(([{ once }]) => once !== true)?.[1]
  return { stages: found, order: [...found.values()], first, overlaps }
}
