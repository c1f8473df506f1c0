/**
 * Collects the nodes, constants and weights of one program, chooses names, and returns the finished Program. The functions in the ops files
 * add operators and compute the dims of their outputs.
 */

import { contentKey } from './content-key.js'
import { activationBytes } from './liveness.js'
import { byteLength, encodeModel, type Attribute, type GraphNode, type InlineTensor } from './model-proto.js'
import type { AdapterBranch, ElementType, Program, QuantizedShape, ValueInfo, WeightInfo, WriteOptions } from './types.js'

/** The type and dims of a node's output; the builder chooses its name. */
interface OutputSpec {
  readonly type: ElementType
  readonly dims: readonly number[]
}

/** A node to add. */
export interface NodeSpec {
  readonly op: string
  readonly domain?: '' | 'com.microsoft'
  /** `undefined` stands for an optional input that is left out. */
  readonly inputs: readonly (ValueInfo | undefined)[]
  /** An optional output that the node leaves out is `undefined`. */
  readonly outputs: readonly (OutputSpec | undefined)[]
  readonly attributes?: Readonly<Record<string, Attribute>>
}

/** A program while it is being built. Names follow the order of the calls, so equal calls give equal bytes. */
export class GraphBuilder {
  readonly options: WriteOptions
  readonly #nodes: GraphNode[] = []
  readonly #constants = new Map<string, InlineTensor>()
  readonly #inputs = new Map<string, ValueInfo>()
  readonly #componentInputs = new Map<string, ValueInfo>()
  readonly #weights = new Map<string, ValueInfo>()
  readonly #outputs = new Map<string, { readonly info: ValueInfo; readonly value: ValueInfo }>()
  readonly #counts = new Map<string, number>()
  readonly #names = new Set<string>()
  /** The size in bytes of every value that is not a constant. */
  readonly #bytes = new Map<string, number>()
  /** The prefix that the program's weight names leave out. */
  readonly #prefix: string
  #scope = ''

  constructor(options: WriteOptions, prefix = '') {
    this.options = options
    this.#prefix = prefix === '' ? '' : `${prefix}.`
  }

  /** The quantization of a weight, named relative to the current scope; undefined if the weight is not quantized. */
  quantized(name: string): QuantizedShape | undefined {
    return this.options.quantized?.(this.#prefix + this.#scope + name)
  }

  /** The branches of adapters (LoRA) beside a layer, named relative to the current scope. `weight` is the shape of the layer's weight. */
  adapters(layer: string, weight: readonly number[]): readonly AdapterBranch[] {
    return this.options.adapters?.(this.#prefix + this.#scope + layer, weight) ?? []
  }

  /** An input that belongs to the whole component, not to one stage of it. It is declared where it is first used. */
  componentInput(name: string, type: ElementType, dims: readonly number[]): ValueInfo {
    const value = this.#componentInputs.get(name) ?? this.input(name, type, dims)
    this.#componentInputs.set(name, value)
    return value
  }

  /** The inputs that {@link componentInput} declared. */
  get componentInputs(): readonly ValueInfo[] {
    return [...this.#componentInputs.values()]
  }

  /** Declares an input of the program. */
  input(name: string, type: ElementType, dims: readonly number[]): ValueInfo {
    this.#claim(name)
    const value = { name, type, dims }
    this.#bytes.set(name, byteLength(value))
    this.#inputs.set(name, value)
    return value
  }

  /** Declares a weight, named relative to the current scope. Its type is the graph's dtype unless given. */
  weight(name: string, dims: readonly number[], type: ElementType = this.options.dtype): ValueInfo {
    const full = this.#scope + name
    this.#claim(full)
    const value = { name: full, type, dims }
    this.#bytes.set(full, byteLength(value))
    this.#weights.set(full, value)
    return value
  }

  /** Runs `body` with every weight name prefixed. */
  scoped<Result>(prefix: string, body: () => Result): Result {
    const outer = this.#scope
    this.#scope = outer + (prefix === '' ? '' : `${prefix}.`)
    try {
      return body()
    } finally {
      this.#scope = outer
    }
  }

  /** Adds a constant to the model; equal constants become one. `data` is the little-endian bytes of `type`. */
  constant(type: ElementType, dims: readonly number[], data: Uint8Array): ValueInfo {
    const key = `${type}[${dims.join()}]${contentKey(data)}`
    const known = this.#constants.get(key)
    if (known !== undefined) return known
    const value = { name: `constant_${this.#constants.size}`, type, dims, data }
    this.#constants.set(key, value)
    return value
  }

  /** Adds a node and returns its outputs in order, without those that are left out. */
  node(spec: NodeSpec): ValueInfo[] {
    const count = this.#counts.get(spec.op) ?? 0
    this.#counts.set(spec.op, count + 1)
    const name = `${spec.op}_${count}`
    const named = spec.outputs.map((output, index) =>
      output === undefined
        ? undefined
        : { name: spec.outputs.length === 1 ? name : `${name}_${index}`, type: output.type, dims: output.dims },
    )
    const outputs = named.filter((output) => output !== undefined)
    for (const output of outputs) this.#bytes.set(output.name, byteLength(output))
    this.#nodes.push({
      opType: spec.op,
      domain: spec.domain ?? '',
      name,
      inputs: spec.inputs.map((input) => input?.name ?? ''),
      outputs: named.map((output) => output?.name ?? ''),
      attributes: spec.attributes ?? {},
    })
    return outputs
  }

  /** Declares `value` as an output of the program under `name`. */
  output(name: string, value: ValueInfo): void {
    this.#claim(name)
    this.#outputs.set(name, { info: { name, type: value.type, dims: value.dims }, value })
  }

  /** Returns the finished program. */
  finish(name: string): Program {
    const nodes = this.#nameOutputs()
    const inputs = [...this.#inputs.values()]
    const weights = [...this.#weights.values()].map((weight) => this.#ordered(weight, nodes))
    const outputs = [...this.#outputs.values()].map(({ info }) => info)
    const asInputs = this.options.weights === 'input'
    const model = encodeModel({
      name,
      nodes,
      constants: [...this.#constants.values()],
      externals: asInputs ? [] : weights,
      inputs: asInputs ? [...inputs, ...weights] : inputs,
      outputs,
    })
    const named = new Set([...this.#outputs.values()].map(({ value }) => value.name))
    const bytesOf = (name: string) => this.#bytes.get(name) ?? 0
    const activations = activationBytes(this.#nodes, bytesOf, named)
    const made = this.#nodes.flatMap((node) => node.outputs.map((output) => ({ name: output, bytes: bytesOf(output) })))
    const largestValue = made.reduce((most, value) => (value.bytes > most.bytes ? value : most), { name: '', bytes: 0 })
    return { key: contentKey(model), model, inputs, weights, outputs, activationBytes: activations, largestValue }
  }

  /** Marks a weight `channelsLast` if the options ask for it and only convolutions without groups among `nodes` read the weight. */
  #ordered(weight: ValueInfo, nodes: readonly GraphNode[]): WeightInfo {
    const [outputs = 0, inputs = 0] = weight.dims
    if (this.options.channelsLastWeights !== true || weight.dims.length !== 4 || outputs < 2 || inputs < 2) return weight
    const uses = nodes.flatMap((node) => node.inputs.flatMap((input, index) => (input === weight.name ? [{ node, index }] : [])))
    const isForConvolutions = uses.every(
      ({ node, index }) => node.opType === 'Conv' && index === 1 && !('group' in node.attributes),
    )
    return isForConvolutions ? { ...weight, channelsLast: true } : weight
  }

  /**
   * Returns the nodes with their outputs renamed to the program's output names. Adds an Identity only for a value that has two output names
   * or that no node computes.
   */
  #nameOutputs(): GraphNode[] {
    const produced = new Set(this.#nodes.flatMap((node) => node.outputs))
    const renamed = new Map<string, string>()
    const extra: GraphNode[] = []
    for (const { info, value } of this.#outputs.values()) {
      if (produced.has(value.name) && !renamed.has(value.name)) {
        renamed.set(value.name, info.name)
        continue
      }
      const inputs = [renamed.get(value.name) ?? value.name]
      extra.push({ opType: 'Identity', domain: '', name: `copy_${info.name}`, inputs, outputs: [info.name], attributes: {} })
    }
    const rename = (names: readonly string[]) => names.map((name) => renamed.get(name) ?? name)
    return [
      ...this.#nodes.map((node) => Object.assign({}, node, { inputs: rename(node.inputs), outputs: rename(node.outputs) })),
      ...extra,
    ]
  }

  #claim(name: string): void {
    if (this.#names.has(name)) throw new Error(`The name ${name} is used twice in one program`)
    this.#names.add(name)
  }
}
