/**
 * The adapters (LoRA) of one network. The factors of active ones are tensors of the network's own weight table, under names that the graph
 * writer's branches have, so that they are planned, loaded and streamed like all other weights. The scales are inputs of a run.
 */

import type { TensorEntry, WeightTable } from '../checkpoint/types.js'
import { adapterTensorName } from '../models/layers/adapters.js'
import type { AdapterBranch, AdapterForm, Adapters } from '../onnx/types.js'
import type { HostTensor } from '../runtime/types.js'
import { float32Tensor } from './tensors.js'

/** The branch beside one layer. */
export interface LayerFactors {
  readonly form: AdapterForm
  /** The tensors by the part of their name after the layer's, such as `lora_A` [rank, in] and `lora_B` [out, rank]. */
  readonly tensors: ReadonlyMap<string, TensorEntry>
  /** alpha / rank, the factor of the branch besides the adapter's weight. */
  readonly scaling: number
}

/** The part of a loaded adapter that is for one network. */
export interface NetworkAdapter {
  /** Unique among all adapters that a pipeline has ever loaded: buffers of one adapter are never mistaken for another's. */
  readonly id: number
  /** The branches, by the name of their layer: `down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q`. */
  readonly layers: ReadonlyMap<string, LayerFactors>
}

/** An adapter that runs, and how strongly. */
export interface ActiveAdapter {
  readonly adapter: NetworkAdapter
  /** The caller's weight. */
  readonly weight: number
}

/** The input with the product of an adapter's weight and a scaling: layers with equal scalings share one. */
function scaleName(id: number, scaling: number): string {
  return `lora_scale_${id}_${scaling}`
}

export class NetworkAdapters {
  readonly #table: Map<string, TensorEntry>
  #active: readonly ActiveAdapter[] = []
  #inputs: Readonly<Record<string, HostTensor>> = {}

  constructor(table: WeightTable) {
    this.#table = new Map(table)
  }

  /** The network's weights, with the factors of active adapters. It changes with {@link activate}. */
  get table(): WeightTable {
    return this.#table
  }

  /** Which adapters are active, whatever their weights: graphs written for equal versions are equal. Empty: none. */
  get version(): string {
    return this.#active.map(({ adapter }) => adapter.id).join()
  }

  /** The branches that graphs have. */
  get branches(): Adapters | undefined {
    if (this.#active.length === 0) return undefined
    return (layer) => this.#active.flatMap(({ adapter }) => branchOf(adapter, layer))
  }

  /** The scales of the active adapters, as inputs of a run. */
  get inputs(): Readonly<Record<string, HostTensor>> {
    return this.#inputs
  }

  /** Makes these the active adapters, in the order in which their branches are added. */
  activate(active: readonly ActiveAdapter[]): void {
    for (const { adapter } of this.#active) for (const [name] of factorsOf(adapter)) this.#table.delete(name)
    for (const { adapter } of active) for (const [name, entry] of factorsOf(adapter)) this.#table.set(name, entry)
    this.#active = active
    this.#inputs = Object.fromEntries(
      active.flatMap(({ adapter, weight }) =>
        [...new Set([...adapter.layers.values()].map(({ scaling }) => scaling))].map(
          (scaling) => [scaleName(adapter.id, scaling), float32Tensor([1], Float32Array.of(scaling * weight))] as const,
        ),
      ),
    )
  }
}

function branchOf({ id, layers }: NetworkAdapter, layer: string): readonly AdapterBranch[] {
  const factors = layers.get(layer)
  return factors === undefined ? [] : [{ id, form: factors.form, scale: scaleName(id, factors.scaling) }]
}

function factorsOf({ id, layers }: NetworkAdapter): readonly (readonly [string, TensorEntry])[] {
  return [...layers].flatMap(([layer, { tensors }]) =>
    [...tensors].map(([part, entry]) => {
      const name = adapterTensorName(layer, part, id)
      return [name, { ...entry, name }] as const
    }),
  )
}
