/** What a component will hold on a GPU, from its graph alone: bytes of weights by stage, and of activations. Pure. */

import type { WeightTable } from '../checkpoint/types.js'
import type { ComponentGraph, ValueInfo } from '../onnx/types.js'
import { valueBytes } from './convert.js'
import { storageBytes } from './gpu-buffers.js'
import { bufferBytes, stageWeights } from './stage-weights.js'

/** Bytes of the buffer that holds a value. */
function bufferOf({ type, dims }: ValueInfo): number {
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

/** What one component asks of a device's memory. Plain data. */
export interface ComponentNeeds {
  readonly name: string
  /** The blocks in the order they run, and the bytes of buffers for the weights that only each uses. */
  readonly blocks: readonly { readonly name: string; readonly bytes: number }[]
  /** Bytes of weights that several blocks use. */
  readonly sharedBytes: number
  /** The most that a run is expected to hold beside weights. */
  readonly activationBytes: number
  /** The same for a run that works tile by tile, where the component can. */
  readonly tiledActivationBytes?: number | undefined
}

/** Bytes of all weights of a component. */
export function weightBytes({ blocks, sharedBytes }: ComponentNeeds): number {
  return blocks.reduce((sum, { bytes }) => sum + bytes, sharedBytes)
}

/** Bytes of activations that a run can do with: in tiles, where the component can. */
export function leastActivations({ activationBytes, tiledActivationBytes = activationBytes }: ComponentNeeds): number {
  return Math.min(activationBytes, tiledActivationBytes)
}

/** What a component needs to run a graph on a GPU. `graph` has granularity `block` for blocks to be told apart. */
export function needsOf(name: string, graph: ComponentGraph, table: WeightTable, tiled?: ComponentGraph): ComponentNeeds {
  const { own, shared } = stageWeights(graph.stages, table)
  return {
    name,
    blocks: graph.stages.map((stage, index) => ({ name: stage.name, bytes: bufferBytes(own[index] ?? []) })),
    sharedBytes: bufferBytes(shared),
    activationBytes: activationMargin * estimateActivations(graph),
    ...(tiled === undefined ? {} : { tiledActivationBytes: activationMargin * estimateActivations(tiled) }),
  }
}
