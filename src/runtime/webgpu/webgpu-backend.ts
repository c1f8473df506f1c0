/** A network on a GPU: its stages run in sessions that networks share. Weights are inputs, in buffers that this library makes. */

import type { WeightTable } from '../../checkpoint/types.js'
import type { ComponentGraph, ElementType, Program, Stage } from '../../onnx/types.js'
import type { Backend, StageInput } from '../backend.js'
import { valueBytes } from '../../checkpoint/element-types.js'
import { type GpuBuffers } from './gpu-buffers.js'
import { activationMargin, weightKey } from '../../memory/needs.js'
import type { WeightPlan } from '../../memory/plan.js'
import type { OrtTensor, Session } from '../onnxruntime.js'
import { GpuTensor } from '../tensors.js'
import type { DeviceTensor, LoadOptions } from '../types.js'
import type { GpuRuntime } from './gpu-runtime.js'
import { WebGpuWeights } from './webgpu-weights.js'
import { storageBytes } from '../../memory/storage-bytes.js'

/** The GPU's side of one bound network. */
export class WebGpuBackend implements Backend {
  readonly buffers: GpuBuffers
  readonly #device: GpuRuntime
  readonly #name: string
  readonly #weights: WebGpuWeights
  /** A promise for each stage that ran since the last {@link verify}: rejects if the GPU reported an error. */
  #unverified: Promise<void>[] = []

  constructor(device: GpuRuntime, name: string, table: WeightTable) {
    this.buffers = device.buffers
    this.#device = device
    this.#name = name
    this.#weights = new WebGpuWeights(device, name, table)
  }

  get isLoaded(): boolean {
    return this.#weights.isLoaded
  }

  async load(graph: ComponentGraph, plan: WeightPlan | undefined, options: LoadOptions): Promise<void> {
    await this.#weights.load(graph, plan, options)
  }

  async runStage(
    stage: Stage,
    inputs: Readonly<Record<string, StageInput>>,
    signal: AbortSignal | undefined,
  ): Promise<Record<string, DeviceTensor>> {
    const weights = await this.#weights.acquire(stage, signal)
    const session = await this.#device.sessions.get(stage.program, this, this.#name)
    const outputs: Record<string, GpuTensor> = {}
    try {
      const use = { owner: this.#name, doing: `running ${this.#name} (${stage.name})`, expected: expectedBytes(stage.program) }
      const { verified } = await this.#device.exclusively(use, () => this.#run(stage, session, weights, inputs, outputs), signal)
      this.#unverified.push(verified)
    } catch (error) {
      for (const tensor of Object.values(outputs)) tensor.dispose()
      throw error
    }
    await this.#weights.release(stage)
    return outputs
  }

  async verify(): Promise<void> {
    const unverified = this.#unverified
    this.#unverified = []
    const settled = await this.#device.orLost(Promise.allSettled([this.buffers.assertAllocated(), ...unverified]))
    // A failed allocation causes "invalid buffer" errors in the commands that use the buffer: report the allocation first.
    const failed = settled.find((result) => result.status === 'rejected')
    if (failed === undefined) return
    this.buffers.reclaim()
    throw await this.#device.reasonOf(failed.reason)
  }

  async #run(
    { program, weights: tensors }: Stage,
    session: Session,
    weights: ReadonlyMap<string, GPUBuffer>,
    inputs: Readonly<Record<string, StageInput>>,
    outputs: Record<string, GpuTensor>,
  ): Promise<void> {
    const { Tensor } = this.#device.runtime
    const bound = (buffer: GPUBuffer, dataType: ElementType, dims: readonly number[]) =>
      Tensor.fromGpuBuffer(buffer, { dataType, dims })
    const feeds: Record<string, OrtTensor> = {}
    for (const { name, type, dims } of program.inputs) {
      const tensor = inputs[name]
      if (tensor instanceof GpuTensor) feeds[name] = bound(tensor.buffer, type, dims)
      else if (tensor !== undefined) feeds[name] = new Tensor(type, tensor.data, dims)
    }
    for (const info of program.weights) {
      const { name, type, dims } = info
      const buffer = weights.get(weightKey(tensors[name] ?? name, info))
      if (buffer !== undefined) feeds[name] = bound(buffer, type, dims)
    }
    const fetches: Record<string, OrtTensor> = {}
    for (const { name, type, dims } of program.outputs) {
      const buffer = this.buffers.createActivations(this.#name, valueBytes(type, dims))
      outputs[name] = new GpuTensor(this.buffers, buffer, type, dims)
      fetches[name] = bound(buffer, type, dims)
    }
    await session.run(feeds, fetches)
  }

  async unload(): Promise<void> {
    await this.#weights.unload()
    this.buffers.trim()
  }

  async dispose(): Promise<void> {
    await this.unload()
    await this.#device.sessions.leave(this)
    this.buffers.trim()
  }
}

/** An estimate of the bytes of buffers that a run of `program` makes. */
function expectedBytes({ outputs, activationBytes }: Program): number {
  return (
    activationMargin * activationBytes + outputs.reduce((sum, { type, dims }) => sum + storageBytes(valueBytes(type, dims)), 0)
  )
}
