/** Computes from a component's graph how much memory of a device it needs: its weights by stage, and the activations of a run. Pure. */

import type { WeightTable, TensorEntry } from '../checkpoint/types.js'
import type { ComponentGraph, ValueInfo, WeightInfo, Stage, ElementType } from '../onnx/types.js'
import { valueBytes, checkConvertible } from '../checkpoint/element-types.js'
import { storageBytes } from './storage-bytes.js'
import { CheckpointError } from '../errors.js'

/** Bytes of the buffer for a value. */
export function bufferOf({ type, dims }: Omit<ValueInfo, 'name'>): number {
  return storageBytes(valueBytes(type, dims))
}

/**
 * The outputs of stages that only the first run of a generation executes (`Stage.once`), if other stages read them. They stay on the device
 * between runs.
 */
export function keptValues(graph: ComponentGraph): readonly ValueInfo[] {
  const read = new Set(graph.stages.flatMap(({ once, inputs }) => (once === true ? [] : Object.values(inputs))))
  return graph.stages.flatMap(({ once, program, outputs }) =>
    once === true
      ? program.outputs.flatMap((info) => {
          const name = outputs[info.name] ?? info.name
          return read.has(name) ? [{ ...info, name }] : []
        })
      : [],
  )
}

/**
 * The most bytes of activations that a run holds besides {@link keptValues}: the values passed between stages, each until its last use, and
 * the values inside the running stage, whose bytes its program estimates.
 */
export function estimateActivations(graph: ComponentGraph): number {
  const kept = new Set(keptValues(graph).map(({ name }) => name))
  const lastUse = new Map<string, number>()
  for (const [index, stage] of graph.stages.entries()) for (const name of Object.values(stage.inputs)) lastUse.set(name, index)
  for (const { name } of graph.outputs) lastUse.set(name, graph.stages.length)
  const alive = new Map<string, number>(graph.inputs.map((info) => [info.name, bufferOf(info)]))
  let most = 0
  for (const [index, stage] of graph.stages.entries()) {
    for (const info of stage.program.outputs) {
      const name = stage.outputs[info.name] ?? info.name
      if (!kept.has(name)) alive.set(name, bufferOf(info))
    }
    const passed = [...alive.values()].reduce((sum, bytes) => sum + bytes, 0)
    most = Math.max(most, passed + stage.program.activationBytes)
    for (const name of alive.keys()) if ((lastUse.get(name) ?? -1) <= index) alive.delete(name)
  }
  return most
}

/**
 * The factor by which a run may exceed {@link estimateActivations}: onnxruntime changes layouts between kernels, keeps freed buffers of
 * other sizes until commands are submitted, and holds uniform buffers. Measured on the fixtures: at most 1.8 (docs/memory.md).
 */
export const activationMargin = 2

/** A buffer: the name of what is in it, and its bytes. */
export interface Sized {
  readonly name: string
  readonly bytes: number
}

/** One way to run a component: all at once, or in tiles of a size. */
export interface RunNeeds {
  /** The most bytes that a run is expected to hold besides the weights. */
  readonly activationBytes: number
  /** The largest value that the run holds. */
  readonly largestValue: Sized
  /** The inputs of the run. */
  readonly inputs: readonly Sized[]
  /** Edge of the tiles in latent pixels. Undefined: the component runs on the whole input at once. */
  readonly tile?: number | undefined
}

/** A block, and the bytes of buffers for the weights that only it uses. */
export interface BlockNeeds extends Sized {
  /** Whether only the first run of a generation uses the block. Such blocks come first. Absent: every run uses it. */
  readonly once?: true | undefined
}

/** How many blocks only the first run of a generation uses. They are at the beginning. */
export function countOnce(blocks: readonly { readonly once?: true | undefined }[]): number {
  return blocks.filter(({ once }) => once === true).length
}

/** The memory that one component needs on a device. Plain data. */
export interface ComponentNeeds {
  readonly name: string
  /** Set for the autoencoder's encoder, which is a component of its own in plans. */
  readonly part?: 'encoder' | undefined
  /** The blocks in the order they run. */
  readonly blocks: readonly BlockNeeds[]
  /** Bytes of weights that several blocks use. */
  readonly sharedBytes: number
  readonly largestWeight: Sized
  /** The ways to run the component, the best one first. At least one. */
  readonly ways: readonly RunNeeds[]
}

/** Bytes of all weights of a component. */
export function weightBytes({ blocks, sharedBytes }: Pick<ComponentNeeds, 'blocks' | 'sharedBytes'>): number {
  return blocks.reduce((sum, { bytes }) => sum + bytes, sharedBytes)
}

/** The memory that a component needs to run a graph on a GPU. `graph` has granularity `block`, so that its stages are the blocks. */
export function needsOf(name: string, graph: ComponentGraph, table: WeightTable): ComponentNeeds {
  const { own, shared } = stageWeights(graph.stages, table)
  const keys = [...own.flat(), ...shared]
  const weights = keys.map(({ entry, bytes }) => ({ name: entry.name, bytes: storageBytes(bytes) }))
  const factors = factorBytes(keys.map(({ entry }) => entry))
  const way = runNeedsOf(graph)
  return {
    name,
    blocks: graph.stages.map(({ name: block, once }, index) => ({
      name: block,
      bytes: bufferBytes(own[index] ?? []),
      ...(once === true ? { once } : {}),
    })),
    sharedBytes: bufferBytes(shared),
    largestWeight: largestOf(weights),
    ways: [{ ...way, activationBytes: way.activationBytes + stagingBytes(factors) }],
  }
}

/** Bytes of the buffers with which an upload adds the factors A and B of LoRAs to a weight: the factors have `a` and `b` bytes. */
function stagingBytes({ a, b }: { readonly a: number; readonly b: number }): number {
  return a === 0 ? 0 : storageBytes(a) + storageBytes(b) + 32
}

/** The most bytes of LoRA factors A and B that belong to one of these weights: an upload adds factors to one weight after the other. */
export function factorBytes(entries: readonly TensorEntry[]): { readonly a: number; readonly b: number } {
  let [a, b] = [0, 0]
  for (const { fused } of entries) {
    if (fused === undefined) continue
    const [rows = 1, ...inner] = fused.base.shape
    const rank = fused.products.reduce((sum, one) => sum + one.rank, 0)
    a = Math.max(a, valueBytes('float32', [rank, ...inner]))
    b = Math.max(b, valueBytes('float32', [rows, rank]))
  }
  return { a, b }
}

/** The memory that a run of a graph needs beside weights. */
export function runNeedsOf(graph: ComponentGraph): RunNeeds {
  const inputs = graph.inputs.map((info) => ({ name: info.name, bytes: bufferOf(info) }))
  const made = graph.stages.map(({ name, program: { largestValue } }) => ({
    name: `${name}/${largestValue.name}`,
    bytes: storageBytes(largestValue.bytes),
  }))
  return {
    activationBytes:
      activationMargin * estimateActivations(graph) + keptValues(graph).reduce((sum, info) => sum + bufferOf(info), 0),
    largestValue: largestOf([...inputs, ...made]),
    inputs,
  }
}

function largestOf(values: readonly Sized[]): Sized {
  return values.reduce((most, value) => (value.bytes > most.bytes ? value : most), { name: '', bytes: 0 })
}

/** The weights of each stage of a graph, and those that several stages share. */
export interface StageWeights {
  /** For each stage, the weights that only it uses. */
  readonly own: readonly (readonly WeightKey[])[]
  /** Weights that more than one stage uses; they are never streamed. */
  readonly shared: readonly WeightKey[]
}

/** Bytes of buffers for these weights. */
export function bufferBytes(weights: Iterable<WeightKey>): number {
  let sum = 0
  for (const { bytes } of weights) sum += storageBytes(bytes)
  return sum
}

/** Splits a graph's weights by stage. @throws CheckpointError as {@link weightsOf} */
export function stageWeights(stages: readonly Stage[], table: WeightTable): StageWeights {
  const perStage = stages.map((stage) => weightsOf([stage], table))
  const uses = new Map<string, number>()
  for (const weights of perStage) for (const key of weights.keys()) uses.set(key, (uses.get(key) ?? 0) + 1)
  const shared = new Map<string, WeightKey>()
  const own = perStage.map((weights) =>
    [...weights.values()].filter((weight) => {
      if (uses.get(weight.key) === 1) return true
      shared.set(weight.key, weight)
      return false
    }),
  )
  return { own, shared: [...shared.values()] }
}

/** A tensor of the checkpoint, in one element type and memory layout. Tied weights have the same key. */
export interface WeightKey {
  readonly key: string
  readonly entry: TensorEntry
  readonly type: ElementType
  /** Bytes of its elements. */
  readonly bytes: number
  /** The sizes [out, in, rows, columns] of a weight whose buffer has them in the order [rows, columns, in, out]. */
  readonly channelsLast?: readonly number[] | undefined
}

/** The key of a checkpoint's tensor in an element type and a memory layout. */
export function weightKey(tensor: string, { type, channelsLast }: Pick<WeightInfo, 'type' | 'channelsLast'>): string {
  return `${type}${channelsLast === true ? '/channels-last' : ''} ${tensor}`
}

/** The tensor of a key that {@link weightKey} made. */
export function tensorOf(key: string): string {
  return key.slice(key.indexOf(' ') + 1)
}

/** The weights of these stages, each once. @throws CheckpointError `tensor-missing`, `shape-mismatch`, `dtype-not-convertible` */
export function weightsOf(stages: Iterable<Stage>, table: WeightTable): Map<string, WeightKey> {
  const found = new Map<string, WeightKey>()
  for (const stage of stages) {
    for (const info of stage.program.weights) {
      const { name, type, dims } = info
      const tensor = stage.weights[name] ?? name
      const key = weightKey(tensor, info)
      const entry = table.get(tensor)
      if (entry === undefined) {
        const message = `${stage.name} needs the tensor ${tensor}, which the checkpoint does not have.`
        throw new CheckpointError('tensor-missing', message, { tensor, stage: stage.name })
      }
      checkConvertible(entry, type, dims)
      const order = info.channelsLast === true ? { channelsLast: dims } : {}
      found.set(key, { key, entry, type, bytes: valueBytes(type, dims), ...order })
    }
  }
  return found
}
