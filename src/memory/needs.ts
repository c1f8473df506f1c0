/** What a component will hold on a GPU, from its graph alone: bytes of weights by stage, and of activations. Pure. */

import type { WeightTable } from '../checkpoint/types.js'
import type { ComponentGraph, ValueInfo } from '../onnx/types.js'
import { valueBytes } from '../checkpoint/element-types.js'
import { bufferBytes, stageWeights } from './stage-weights.js'
import { storageBytes } from './storage-bytes.js'

/** Bytes of the buffer that holds a value. */
export function bufferOf({ type, dims }: Omit<ValueInfo, 'name'>): number {
  return storageBytes(valueBytes(type, dims))
}

/**
 * The most bytes of activations that a run holds: the values passed between stages, until their last use, and what the stage under
 * way holds itself. `stage` tells the latter, which a program only estimates.
 */
export function estimateActivations(graph: ComponentGraph): number {
  const lastUse = new Map<string, number>()
  for (const [index, stage] of graph.stages.entries()) for (const name of Object.values(stage.inputs)) lastUse.set(name, index)
  for (const { name } of graph.outputs) lastUse.set(name, graph.stages.length)
  const alive = new Map<string, number>(graph.inputs.map((info) => [info.name, bufferOf(info)]))
  let most = 0
  for (const [index, stage] of graph.stages.entries()) {
    for (const info of stage.program.outputs) alive.set(stage.outputs[info.name] ?? info.name, bufferOf(info))
    const passed = [...alive.values()].reduce((sum, bytes) => sum + bytes, 0)
    most = Math.max(most, passed + stage.program.activationBytes)
    for (const name of alive.keys()) if ((lastUse.get(name) ?? -1) <= index) alive.delete(name)
  }
  return most
}

/**
 * How far a run may go over {@link estimateActivations}: onnxruntime changes layouts between kernels, keeps freed pieces of other sizes
 * until commands are submitted, and holds uniforms. Measured on the fixtures: at most 1.8 (docs/memory.md).
 */
export const activationMargin = 2

/** What is in one buffer: its name, and the buffer's bytes. */
export interface Sized {
  readonly name: string
  readonly bytes: number
}

/** One way to run a component: all at once, or in tiles of a size. */
export interface RunNeeds {
  /** The most that a run is expected to hold beside weights. */
  readonly activationBytes: number
  /** The largest of the values that it holds. */
  readonly largestValue: Sized
  /** What it is shown. */
  readonly inputs: readonly Sized[]
  /** Edge of the tiles in latent pixels. Undefined: all at once. */
  readonly tile?: number | undefined
}

/** What one component asks of a device's memory. Plain data. */
export interface ComponentNeeds {
  readonly name: string
  /** Which part of the component runs, where it has two: the autoencoder's way in. */
  readonly part?: 'encoder' | undefined
  /** The blocks in the order they run, and the bytes of buffers for the weights that only each uses. */
  readonly blocks: readonly Sized[]
  /** Bytes of weights that several blocks use. */
  readonly sharedBytes: number
  readonly largestWeight: Sized
  /** How it can run, the best first: one at least. */
  readonly ways: readonly RunNeeds[]
}

/** Bytes of all weights of a component. */
export function weightBytes({ blocks, sharedBytes }: Pick<ComponentNeeds, 'blocks' | 'sharedBytes'>): number {
  return blocks.reduce((sum, { bytes }) => sum + bytes, sharedBytes)
}

/** What a component needs to run a graph on a GPU. `graph` has granularity `block` for blocks to be told apart. */
export function needsOf(name: string, graph: ComponentGraph, table: WeightTable): ComponentNeeds {
  const { own, shared } = stageWeights(graph.stages, table)
  const weights = [...own.flat(), ...shared].map(({ entry, bytes }) => ({ name: entry.name, bytes: storageBytes(bytes) }))
  return {
    name,
    blocks: graph.stages.map((stage, index) => ({ name: stage.name, bytes: bufferBytes(own[index] ?? []) })),
    sharedBytes: bufferBytes(shared),
    largestWeight: largestOf(weights),
    ways: [runNeedsOf(graph)],
  }
}

/** What a run of a graph needs beside weights. */
export function runNeedsOf(graph: ComponentGraph): RunNeeds {
  const inputs = graph.inputs.map((info) => ({ name: info.name, bytes: bufferOf(info) }))
  const made = graph.stages.map(({ name, program: { largestValue } }) => ({
    name: `${name}/${largestValue.name}`,
    bytes: storageBytes(largestValue.bytes),
  }))
  return {
    activationBytes: activationMargin * estimateActivations(graph),
    largestValue: largestOf([...inputs, ...made]),
    inputs,
  }
}

function largestOf(values: readonly Sized[]): Sized {
  return values.reduce((most, value) => (value.bytes > most.bytes ? value : most), { name: '', bytes: 0 })
}
