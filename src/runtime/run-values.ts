/** The values of one run of a graph, from one stage to the next. Each one is freed after the last stage that reads it. */

import type { ComponentGraph, Stage } from '../onnx/types.js'
import type { StageInput } from './backend.js'
import { CpuTensor, GpuTensor } from './tensors.js'
import type { DeviceTensor } from './types.js'

/** The values of one run, by their names in the graph. Call `dispose` after the run, whether it succeeded or failed. */
export class RunValues {
  readonly #graph: ComponentGraph
  /** How many reads of each value are left, by stages and as an output of the graph. */
  readonly #readsLeft: Map<string, number>
  readonly #values = new Map<string, StageInput | CpuTensor>()
  /** The tensors that this run has to dispose: not the caller's inputs. */
  readonly #owned = new Set<DeviceTensor>()

  constructor(graph: ComponentGraph) {
    this.#graph = graph
    this.#readsLeft = countReads(graph)
  }

  /** Whether more than one read of a value is left. */
  isShared(name: string): boolean {
    return (this.#readsLeft.get(name) ?? 0) > 1
  }

  /** Adds a value that this run does not free. */
  borrow(name: string, tensor: StageInput | DeviceTensor): void {
    if (!isDeviceTensor(tensor) || tensor instanceof GpuTensor || tensor instanceof CpuTensor) this.#values.set(name, tensor)
  }

  /** Adds a value that this run frees. */
  own(name: string, tensor: DeviceTensor): void {
    this.#owned.add(tensor)
    this.borrow(name, tensor)
  }

  /** The inputs of a stage, by the names in its program. */
  inputsOf(stage: Stage): Record<string, StageInput> {
    const inputs: Record<string, StageInput> = {}
    for (const [name, from] of Object.entries(stage.inputs)) {
      const value = this.#values.get(from)
      if (value !== undefined) inputs[name] = value instanceof CpuTensor ? value.host : value
    }
    return inputs
  }

  /** Frees the values that no later stage reads, and this stage's outputs that nothing reads. */
  finish(stage: Stage): void {
    for (const name of Object.values(stage.inputs)) this.#countRead(name)
    for (const name of Object.values(stage.outputs)) if ((this.#readsLeft.get(name) ?? 0) === 0) this.#countRead(name)
  }

  #countRead(name: string): void {
    const left = (this.#readsLeft.get(name) ?? 0) - 1
    this.#readsLeft.set(name, left)
    const value = this.#values.get(name)
    if (left > 0 || value === undefined || !isDeviceTensor(value) || !this.#owned.has(value)) return
    value.dispose()
    this.#owned.delete(value)
    this.#values.delete(name)
  }

  /** Returns the graph's outputs, which the caller has to dispose. */
  takeOutputs(): Record<string, DeviceTensor> {
    const outputs: Record<string, DeviceTensor> = {}
    for (const { name } of this.#graph.outputs) {
      const value = this.#values.get(name)
      if (value === undefined || !isDeviceTensor(value)) continue
      outputs[name] = value
      this.#owned.delete(value)
    }
    return outputs
  }

  /** Frees everything that is left. */
  dispose(): void {
    for (const tensor of this.#owned) tensor.dispose()
  }
}

function isDeviceTensor(value: StageInput | DeviceTensor): value is DeviceTensor {
  return 'read' in value
}

function countReads(graph: ComponentGraph): Map<string, number> {
  const reads = new Map<string, number>()
  const names = [...graph.stages.flatMap((stage) => Object.values(stage.inputs)), ...graph.outputs.map(({ name }) => name)]
  for (const name of names) reads.set(name, (reads.get(name) ?? 0) + 1)
  return reads
}
