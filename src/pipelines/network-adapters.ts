/**
 * The adapters (LoRA) of one network. The factors of active adapters are in the network's own weight table, under the names by which graphs
 * read them, so that they are planned, loaded and streamed like all other weights. The scales are inputs of a run. For a fused adapter, the
 * table has the changed weights in place of the checkpoint's, with other names, so that a device loads them instead.
 */

import { fusedBias, fusedWeight, type LayerChange } from '../checkpoint/lora/fused-weight.js'
import type { TensorEntry, WeightTable } from '../checkpoint/types.js'
import { UnsupportedError } from '../errors.js'
import { adapterTensorName } from '../models/layers/adapters.js'
import { entryOf, quantizedWeights, type NamedClass } from '../models/match-weights.js'
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

/** An active adapter, and its weight. */
export interface ActiveAdapter {
  readonly adapter: NetworkAdapter
  /** The weight that the caller gave the adapter. */
  readonly weight: number
}

/** The name of the graph input that holds an adapter's weight times `scaling`. All layers with this scaling share the input. */
function scaleName(id: number, scaling: number): string {
  return `lora_scale_${id}_${scaling}`
}

/** A weight or a bias of the checkpoint, and how fused adapters change it. */
interface FusedTensor {
  readonly base: TensorEntry
  readonly part: 'weight' | 'bias'
  readonly changes: LayerChange[]
}

export class NetworkAdapters {
  readonly #table: Map<string, TensorEntry>
  readonly #model: NamedClass
  #active: readonly ActiveAdapter[] = []
  #fused: readonly ActiveAdapter[] = []
  /** The checkpoint's tensors that fused adapters change, each with the name of the tensor that replaces it. */
  #replaced: readonly { readonly base: TensorEntry; readonly name: string }[] = []
  #inputs: Readonly<Record<string, HostTensor>> = {}

  constructor(table: WeightTable, model: NamedClass) {
    this.#table = new Map(table)
    this.#model = model
  }

  /** The network's weights, with the factors of active adapters, and the changes of fused ones. It changes with {@link activate}. */
  get table(): WeightTable {
    return this.#table
  }

  /** Identifies the active and the fused adapters, without the weights of the active ones. Graphs written for equal versions are equal. Empty: no adapter. */
  get version(): string {
    const active = this.#active.map(({ adapter }) => adapter.id).join()
    return this.#fused.length === 0 ? active : `${active} ${nameOf(this.#fused)}`
  }

  /** The branches that graphs have for the active adapters; undefined if there are none. */
  get branches(): Adapters | undefined {
    if (this.#active.length === 0) return undefined
    return (layer) => this.#active.flatMap(({ adapter }) => branchOf(adapter, layer))
  }

  /** The scales of the active adapters, as inputs of a run. */
  get inputs(): Readonly<Record<string, HostTensor>> {
    return this.#inputs
  }

  /** Sets the active adapters, in the order in which their branches are added, and the fused adapters. */
  activate(active: readonly ActiveAdapter[], fused: readonly ActiveAdapter[] = []): void {
    for (const { adapter } of this.#active) for (const [name] of factorsOf(adapter)) this.#table.delete(name)
    for (const { base, name } of this.#replaced) {
      this.#table.delete(name)
      this.#table.set(base.name, base)
    }
    this.#replaced = this.#fusedTensors(fused).map(({ base, part, changes }) => {
      const name = `${base.name} with ${nameOf(fused)}`
      const entry = part === 'weight' ? fusedWeight(base, changes, name) : fusedBias(base, changes, name)
      for (const key of [base.name, name]) this.#table.set(key, entry)
      return { base, name }
    })
    for (const { adapter } of active) for (const [name, entry] of factorsOf(adapter)) this.#table.set(name, entry)
    this.#active = active
    this.#fused = fused
    this.#inputs = Object.fromEntries(
      active.flatMap(({ adapter, weight }) =>
        [...new Set([...adapter.layers.values()].map(({ scaling }) => scaling))].map(
          (scaling) => [scaleName(adapter.id, scaling), float32Tensor([1], Float32Array.of(scaling * weight))] as const,
        ),
      ),
    )
  }

  /** @throws UnsupportedError `lora-fuse` if a weight that the adapter changes is quantized, or if a branch has a bias and its layer has none */
  checkFusable({ layers }: NetworkAdapter, network: string): void {
    const isQuantized = quantizedWeights(this.#model, this.#table)
    for (const [layer, { tensors }] of layers) {
      const why =
        isQuantized(`${layer}.weight`) !== undefined
          ? 'is quantized'
          : tensors.has('lora_B_bias') && entryOf(this.#model, `${layer}.bias`, this.#table) === undefined
            ? 'has no bias, which the LoRA changes'
            : undefined
      if (why === undefined) continue
      const message = `The layer ${layer} of ${network} ${why}, so the LoRA cannot be fused into it. Without fuseLora it runs as a branch beside the layer, for the same image.`
      throw new UnsupportedError('lora-fuse', message, { component: network, layer })
    }
  }

  /** The checkpoint's tensors that these adapters change, each once, with the changes in order. The table must not contain changed tensors at this point. */
  #fusedTensors(fused: readonly ActiveAdapter[]): readonly FusedTensor[] {
    const found = new Map<string, FusedTensor>()
    const add = (layer: string, part: FusedTensor['part'], change: LayerChange) => {
      const base = entryOf(this.#model, `${layer}.${part}`, this.#table)
      if (base === undefined) throw new TypeError(`${layer} has no ${part}.`)
      const known = found.get(base.name) ?? { base, part, changes: [] }
      known.changes.push(change)
      found.set(base.name, known)
    }
    for (const { adapter, weight } of fused)
      for (const [layer, { form, tensors, scaling }] of adapter.layers) {
        const change = { form, tensors, scale: scaling * weight }
        add(layer, 'weight', change)
        if (tensors.has('lora_B_bias')) add(layer, 'bias', change)
      }
    return [...found.values()]
  }
}

/** These adapters and their weights, as part of the name of a tensor. */
function nameOf(fused: readonly ActiveAdapter[]): string {
  return fused.map(({ adapter, weight }) => `LoRA ${adapter.id} × ${weight}`).join(' and ')
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
