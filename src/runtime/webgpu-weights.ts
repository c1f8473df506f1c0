/**
 * One component's weights on a GPU: all of them, or, under a budget, some that stay and a ring through which the other blocks
 * pass, the next one's upload going on while one runs. Which block does what is block-plan.ts's.
 */

import type { WeightTable } from '../checkpoint/types.js'
import type { ComponentGraph, Stage } from '../onnx/types.js'
import type { LoadOptions } from './types.js'
import type { WebGpuDevice } from './webgpu-device.js'
import { uploadWeights } from './webgpu-upload.js'
import { bufferBytes, planStages, stageWeights } from './stage-weights.js'
import { weightsOf, type WeightKey } from './weights-of.js'

type Buffers = ReadonlyMap<string, GPUBuffer>

interface Streaming {
  /** The stages that pass through the ring, in order, and what each brings. */
  readonly stages: readonly Stage[]
  readonly weights: ReadonlyMap<Stage, readonly WeightKey[]>
  readonly overlaps: boolean
}

export class WebGpuWeights {
  readonly #device: WebGpuDevice
  readonly #name: string
  readonly #table: WeightTable
  #graph: ComponentGraph | undefined
  #kept = new Map<string, GPUBuffer>()
  #streaming: Streaming | undefined
  /** Streamed stages whose weights are here or on the way. */
  readonly #slots = new Map<Stage, Promise<Buffers>>()
  /** Buffers of the ring that hold nothing wanted. */
  readonly #spare: GPUBuffer[] = []
  #stop = new AbortController()
  /** Whether the first streamed stage has come round again: then another run is likely to follow each. */
  #again = false

  constructor(device: WebGpuDevice, name: string, table: WeightTable) {
    this.#device = device
    this.#name = name
    this.#table = table
  }

  /** Loads what stays for `graph`. What is there for another graph and of use stays; a failure changes nothing. */
  async load(graph: ComponentGraph, budget: number | undefined, options: LoadOptions): Promise<void> {
    if (this.#graph === graph) return
    const all = weightsOf(graph.stages, this.#table)
    let streaming: Streaming | undefined
    if (budget !== undefined && bufferBytes(all.values()) > budget) {
      const weights = stageWeights(graph.stages, this.#table)
      const plan = planStages(weights, budget, this.#name)
      const streamed = graph.stages.flatMap((stage, index) =>
        plan.keeps[index] === true ? [] : [{ stage, own: weights.own[index] ?? [] }],
      )
      for (const { own } of streamed) for (const { key } of own) all.delete(key)
      streaming = {
        stages: streamed.map(({ stage }) => stage),
        weights: new Map(streamed.map(({ stage, own }) => [stage, own])),
        overlaps: plan.overlaps,
      }
    }
    // Another graph's plan may keep other blocks: both together could be over the budget.
    if (streaming !== undefined || this.#streaming !== undefined) await this.unload()
    const missing = [...all.values()].filter(({ key }) => !this.#kept.has(key))
    const made = await uploadWeights(this.#device, this.#name, missing, options)
    for (const [key, buffer] of made) this.#kept.set(key, buffer)
    // Written means given to the queue; loaded is when the GPU has it.
    await this.#device.orLost(this.#device.gpu.queue.onSubmittedWorkDone())
    this.#graph = graph
    this.#streaming = streaming
  }

  /** A stage's buffers by weight key, there until {@link release}; the next streamed stage's upload begins. */
  async acquire(stage: Stage, signal: AbortSignal | undefined): Promise<Buffers> {
    const streaming = this.#streaming
    const at = streaming?.stages.indexOf(stage) ?? -1
    if (streaming === undefined || at < 0) return this.#kept
    // Left from a run that did not reach its end: there is no room for them beside this one.
    if (!this.#slots.has(stage)) await this.#clearSlots()
    const here = await (this.#slots.get(stage) ?? this.#begin(stage, signal))
    const next = streaming.stages[(at + 1) % streaming.stages.length]
    const follows = at + 1 < streaming.stages.length || this.#again
    if (at + 1 === streaming.stages.length) this.#again = true
    if (streaming.overlaps && follows && next !== undefined && next !== stage) this.#begin(next, signal).catch(() => {})
    return new Map([...this.#kept, ...here])
  }

  /** The commands that use a stage's buffers have been submitted. */
  async release(stage: Stage): Promise<void> {
    const slot = this.#slots.get(stage)
    if (slot === undefined) return
    this.#slots.delete(stage)
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

  /** Starts a streamed stage's upload into what the ring has to spare. */
  #begin(stage: Stage, signal: AbortSignal | undefined): Promise<Buffers> {
    const known = this.#slots.get(stage)
    if (known !== undefined) return known
    const stop = signal === undefined ? this.#stop.signal : AbortSignal.any([signal, this.#stop.signal])
    const wanted = this.#streaming?.weights.get(stage) ?? []
    const slot = uploadWeights(this.#device, this.#name, wanted, { signal: stop, spare: this.#spare })
    this.#slots.set(stage, slot)
    slot.catch(() => {
      if (this.#slots.get(stage) === slot) this.#slots.delete(stage)
    })
    return slot
  }

  /** Waits for what is on the way and puts its buffers with the spare ones. */
  async #clearSlots(): Promise<void> {
    const slots = [...this.#slots.values()]
    this.#slots.clear()
    for (const settled of await Promise.allSettled(slots))
      if (settled.status === 'fulfilled') this.#spare.push(...settled.value.values())
  }
}
