/**
 * The results of those stages of a graph that run only once (`Stage.once`). A caller keeps them from run to run, as long as these stages
 * read the same tensors. The caller disposes the results when it disposes these tensors.
 */

import type { ComponentGraph } from '../onnx/types.js'
import type { DeviceTensor, HostTensor } from './types.js'

type Inputs = Readonly<Record<string, HostTensor | DeviceTensor>>

interface Kept {
  /** The tensors that the stages read, by the names of the graph's inputs. */
  readonly inputs: ReadonlyMap<string, HostTensor | DeviceTensor | undefined>
  /** The results, by their names in the graph. */
  readonly values: ReadonlyMap<string, DeviceTensor>
}

/** The results that one caller keeps: for each graph, the results for its last inputs. */
export class KeptValues {
  readonly #kept = new Map<ComponentGraph, Kept>()

  /** The results for these inputs of a run; undefined if there are none. `usable`: whether the run's device can read a tensor. */
  of(
    graph: ComponentGraph,
    inputs: Inputs,
    usable: (tensor: DeviceTensor) => boolean,
  ): ReadonlyMap<string, DeviceTensor> | undefined {
    const kept = this.#kept.get(graph)
    if (kept === undefined) return undefined
    const isSame = [...kept.inputs].every(([name, tensor]) => inputs[name] === tensor)
    return isSame && [...kept.values.values()].every(usable) ? kept.values : undefined
  }

  /** Takes ownership of the results for these inputs, and frees the results that were kept for this graph before. */
  keep(graph: ComponentGraph, inputs: Inputs, values: ReadonlyMap<string, DeviceTensor>): void {
    this.#drop(graph)
    const read = new Set(graph.stages.flatMap((stage) => (stage.once === true ? Object.values(stage.inputs) : [])))
    const given = graph.inputs.filter(({ name }) => read.has(name))
    this.#kept.set(graph, { inputs: new Map(given.map(({ name }) => [name, inputs[name]])), values })
  }

  /** Frees all results. Later ones can still be kept. */
  dispose(): void {
    for (const graph of this.#kept.keys()) this.#drop(graph)
  }

  #drop(graph: ComponentGraph): void {
    for (const tensor of this.#kept.get(graph)?.values.values() ?? []) tensor.dispose()
    this.#kept.delete(graph)
  }
}
