/**
 * Matches the weights of graphs with a checkpoint's weight table before any weight is loaded: each weight must exist, have the right shape
 * and a float type (uint8 for quantized values), and be used once. Graphs use the current names only; this file finds the tensors that
 * older releases of diffusers and transformers named differently.
 */

import type { SafetensorsDType, TensorEntry, WeightTable } from '../checkpoint/types.js'
import { CheckpointError } from '../errors.js'
import type { ComponentGraph, QuantizedWeights, Stage, ValueInfo } from '../onnx/types.js'
import type { NetworkDefinition } from './types.js'

/** A tensor that no graph uses, and the reason. */
interface UnusedTensor {
  readonly name: string
  readonly reason: string
}

/** Graphs whose weights name tensors of a table, and the tensors of the table that they do not use. */
export interface MatchedWeights {
  /** The graphs as given, with `Stage.weights` naming tensors of the table. */
  readonly graphs: readonly ComponentGraph[]
  readonly unused: readonly UnusedTensor[]
  /** Tensors that are no parameter of the class. diffusers warns about them. */
  readonly unexpected: readonly string[]
}

/** The members of a class that matching needs. */
export type NamedClass = Pick<NetworkDefinition, 'className' | 'weights'>

const floatTypes: readonly SafetensorsDType[] = ['F16', 'BF16', 'F32', 'F64', 'F8_E4M3', 'F8_E5M2']
const codeTypes: readonly SafetensorsDType[] = ['U8']

/**
 * Matches the graphs of one network with its table. Run the graphs that it returns: their stages name the table's own tensors.
 * @throws CheckpointError `tensor-missing`, `shape-mismatch`, `dtype-mismatch`, `tensor-used-twice`
 */
export function matchWeights(network: NamedClass, graphs: readonly ComponentGraph[], table: WeightTable): MatchedWeights {
  const used = new Set<string>()
  const bound = graphs.map((graph) => {
    const inGraph = new Map<string, string>()
    const stages = graph.stages.map((stage) => bindStage(network, stage, table, inGraph))
    for (const name of inGraph.keys()) used.add(name)
    return { ...graph, stages }
  })
  const unused: UnusedTensor[] = []
  const unexpected: string[] = []
  // A pattern explains unused tensors only if no used tensor matches it. Where a part (the encoder, the decoder) is used, its unused tensors are unexpected.
  const reasons = network.weights.unused.filter(([pattern]) => ![...used].some((name) => pattern.test(name)))
  for (const name of table.keys()) {
    if (used.has(name)) continue
    const reason = reasons.find(([pattern]) => pattern.test(name))?.[1]
    if (reason === undefined) unexpected.push(name)
    else unused.push({ name, reason })
  }
  return { graphs: bound, unused, unexpected }
}

/** The quantized Linear weights of a table, those with scales, as `WriteOptions.quantized` takes them. */
export function quantizedWeights(network: NamedClass, table: WeightTable): QuantizedWeights {
  return (parameter) => {
    const entry = entryOf(network, parameter, table)
    if (entry === undefined || !table.has(`${entry.name}_scale`)) return undefined
    const [rows, blocks, bytes, ...more] = entry.shape
    if (entry.dtype !== 'U8' || rows === undefined || blocks === undefined || bytes === undefined || more.length > 0) {
      const message = `The quantized tensor ${entry.name} holds ${entry.dtype} [${entry.shape.join(', ')}]; allowed: U8 with three dimensions`
      throw new CheckpointError('dtype-mismatch', message, { tensor: entry.name, actual: entry.dtype, shape: entry.shape })
    }
    return { codes: [rows, blocks, bytes], zeroPoints: table.has(`${entry.name}_zero_point`) }
  }
}

/** The tensor of a table that a parameter of a network reads, under its current name or an older one. */
export function entryOf({ weights }: NamedClass, parameter: string, table: WeightTable): TensorEntry | undefined {
  const aliases = weights.aliases(parameter)
  const names = weights.aliasesFirst === true ? [...aliases, parameter] : [parameter, ...aliases]
  return names.map((name) => table.get(name)).find((found) => found !== undefined)
}

function bindStage(network: NamedClass, stage: Stage, table: WeightTable, used: Map<string, string>): Stage {
  const { className } = network
  const weights = stage.program.weights.map((weight) => {
    const parameter = stage.weights[weight.name] ?? weight.name
    const entry = entryOf(network, parameter, table)
    if (entry === undefined) {
      const expected = asStored(weight.dims, weight.dims.slice(1).every((dim) => dim === 1) ? 1 : weight.dims.length)
      const message = `${className} needs the tensor ${parameter} of shape [${expected.join(', ')}], which the checkpoint does not have`
      throw new CheckpointError('tensor-missing', message, { tensor: parameter, expected })
    }
    checkEntry(className, entry, weight)
    const other = used.get(entry.name)
    if (other !== undefined) {
      const message = `${className} would use the tensor ${entry.name} twice, for ${other} and for ${parameter}`
      throw new CheckpointError('tensor-used-twice', message, { tensor: entry.name, parameters: [other, parameter] })
    }
    used.set(entry.name, parameter)
    return [weight.name, entry.name] as const
  })
  return { ...stage, weights: Object.fromEntries(weights) }
}

function checkEntry(className: string, entry: TensorEntry, weight: ValueInfo): void {
  if (!sameShape(entry.shape, weight.dims)) {
    const expected = asStored(weight.dims, entry.shape.length)
    const message = `${className}: the tensor ${entry.name} has shape [${entry.shape.join(', ')}]; its config requires [${expected.join(', ')}]`
    throw new CheckpointError('shape-mismatch', message, { tensor: entry.name, expected, actual: entry.shape })
  }
  const allowed = weight.type === 'uint8' ? codeTypes : floatTypes
  if (!allowed.includes(entry.dtype)) {
    const message = `${className}: the tensor ${entry.name} holds ${entry.dtypeName ?? entry.dtype}; allowed: ${allowed.join(', ')}`
    throw new CheckpointError('dtype-mismatch', message, { tensor: entry.name, actual: entry.dtypeName ?? entry.dtype, allowed })
  }
}

/**
 * Whether two shapes are equal apart from dimensions of 1 at the end: a Linear's weight [out, in] may be stored as that of a 1×1
 * convolution, and a graph may declare the parameters of a norm as [channels, 1, 1].
 */
function sameShape(a: readonly number[], b: readonly number[]): boolean {
  const [short, long] = a.length <= b.length ? [a, b] : [b, a]
  return long.every((size, axis) => size === (short[axis] ?? 1))
}

/** A graph's dims as a checkpoint of this rank has them: without the dimensions of 1 that the graph added at the end. */
function asStored(dims: readonly number[], rank: number): number[] {
  const end = dims.findLastIndex((size, axis) => size !== 1 || axis < rank)
  return dims.slice(0, end + 1)
}
