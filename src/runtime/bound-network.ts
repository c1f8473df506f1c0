/**
 * A network on a device. It keeps the graph for each set of input shapes, asks the device's backend to load the weights, and runs the
 * graph's stages in order. It does not depend on a model or on onnxruntime.
 */

import { InputError, isAquatintError } from '../errors.js'
import type { ComponentGraph, ValueInfo, Shapes } from '../onnx/types.js'
import { isAbortError, throwIfAborted } from '../util/abort.js'
import { keptValues } from '../memory/needs.js'
import type { Backend, StageInput } from './backend.js'
import type { KeptValues } from './kept-values.js'
import { RunValues } from './run-values.js'
import { Mutex } from '../util/mutex.js'
import { castHost, checkHostTensor, CpuTensor, GpuTensor } from './tensors.js'
import type { DeviceTensor, HostTensor, LoadOptions } from './types.js'
import type { Device } from './device.js'
import type { WeightTable } from '../checkpoint/types.js'
import type { WeightPlan } from '../memory/plan.js'

type Inputs = Readonly<Record<string, HostTensor | DeviceTensor>>

/** The arguments of a {@link BoundNetwork}. */
export interface BoundNetworkOptions {
  /** Name in the memory account and in messages, such as `unet`. */
  readonly name: string
  readonly device: Device
  readonly table: WeightTable
  /**
   * Writes the graph for input shapes. Called once for each set of shapes and variant, and again after {@link BoundNetwork.forgetGraphs}
   * or a move to a device with another `weightsAs`.
   */
  readonly graph: (shapes: Shapes, device: Device, variant: string | undefined) => ComponentGraph
  /**
   * How the weights are loaded. With a weight budget, blocks that the plan does not keep are streamed by each run: the graph must have
   * granularity `block`. Undefined: all weights stay while the network is loaded.
   */
  readonly plan?: WeightPlan | undefined
  /** Input shapes that `load()` uses before the first run: the graph written for them says which weights there are. */
  readonly shapes: Shapes
  /** Inputs that the network itself has values for; a graph takes those that it declares. Their shapes never change. Default: none. */
  readonly ownInputs?: (() => Readonly<Record<string, HostTensor>>) | undefined
}

/** Options of a run. */
export interface RunOptions extends LoadOptions {
  /** The name of the graph to run. It is passed to `graph`, together with the shapes of the inputs. */
  readonly variant?: string | undefined
  /** Keeps the results of stages marked `once`, so that later runs can use them. Absent: these stages run in each run. */
  readonly kept?: KeptValues | undefined
}

/** A network bound to a device: loads its weights, runs, and frees them. The constructor loads nothing. */
export class BoundNetwork {
  /** Name in the memory account and in messages, such as `unet`. */
  readonly name: string
  readonly #options: BoundNetworkOptions
  #backend: Backend
  #device: Device
  #plan: WeightPlan | undefined
  readonly #graphs = new Map<string, ComponentGraph>()
  /** Loads, runs and unloads wait for each other. */
  readonly #lock = new Mutex()
  /** The graph that is ready to run. Undefined after a failed load, even if the device still has weights of the previous graph. */
  #loaded: ComponentGraph | undefined
  #disposed = false

  constructor(options: BoundNetworkOptions) {
    this.name = options.name
    this.#options = options
    this.#plan = options.plan
    this.#device = options.device
    this.#backend = options.device.createBackend(options.name, options.table)
  }

  /** Whether the device holds weights of the network. */
  get isLoaded(): boolean {
    return this.#backend.isLoaded
  }

  /** Loads the weights. @throws CheckpointError, DeviceError, AbortError */
  async load(options: LoadOptions = {}): Promise<void> {
    await this.#lock.run(() => this.#load(this.#loaded ?? this.#graphFor(this.#options.shapes), options), options.signal)
  }

  /**
   * Runs once, and loads first if needed. The caller disposes inputs and outputs.
   * @throws InputError for inputs that the graph does not take; CheckpointError, DeviceError, AbortError
   */
  async run(inputs: Inputs, options: RunOptions = {}): Promise<Record<string, DeviceTensor>> {
    return this.#lock.run(async () => {
      const graph = this.#graphFor(
        Object.fromEntries(Object.entries(inputs).map(([name, tensor]) => [name, tensor.dims])),
        options.variant,
      )
      const own = this.#options.ownInputs?.() ?? {}
      const declared = graph.inputs.flatMap(({ name }) => (own[name] === undefined ? [] : [[name, own[name]] as const]))
      const all = { ...inputs, ...Object.fromEntries(declared) }
      checkRunInputs(this.name, graph, all)
      await this.#load(graph, options)
      return this.#execute(graph, all, options)
    }, options.signal)
  }

  /**
   * Discards all graphs, so that the next run writes them again. Call it when something that the graphs depend on has changed, such as the
   * adapters. Loaded weights stay on the device for the new graph.
   */
  forgetGraphs(): void {
    this.#graphs.clear()
  }

  /** Replaces the plan (see {@link BoundNetworkOptions.plan}). Unloads the weights if the new plan differs from the old one. */
  async setPlan(plan: WeightPlan | undefined): Promise<void> {
    if (plan === this.#plan) return
    await this.unload()
    this.#plan = plan
  }

  /**
   * Moves the network to `device`, also after the old device was lost. Frees the weights on the old device if it still exists; the next
   * load is on `device`.
   */
  async moveTo(device: Device): Promise<void> {
    await this.#lock.run(async () => {
      const next = device.createBackend(this.name, this.#options.table)
      this.#loaded = undefined
      // A graph takes its weights either as initializers or as inputs. A device that needs the other form needs new graphs.
      if (device.info.capabilities.weightsAs !== this.#device.info.capabilities.weightsAs) this.#graphs.clear()
      await this.#backend.dispose()
      this.#backend = next
      this.#device = device
    })
  }

  /** Frees the weights. On a GPU compiled sessions stay; on the CPU they contain the weights and are released too. */
  async unload(): Promise<void> {
    await this.#lock.run(async () => {
      this.#loaded = undefined
      await this.#backend.unload()
    })
  }

  /** Frees everything. The network cannot be used again. */
  async dispose(): Promise<void> {
    await this.#lock.run(async () => {
      this.#loaded = undefined
      this.#disposed = true
      this.#graphs.clear()
      await this.#backend.dispose()
    })
  }

  #graphFor(shapes: Shapes, variant?: string): ComponentGraph {
    const inputs = Object.keys(shapes)
      .toSorted()
      .map((name) => `${name}[${shapes[name]?.join() ?? ''}]`)
    const key = JSON.stringify([variant, ...inputs])
    let graph = this.#graphs.get(key)
    if (graph === undefined) {
      graph = this.#options.graph(shapes, this.#device, variant)
      this.#graphs.set(key, graph)
    }
    return graph
  }

  async #load(graph: ComponentGraph, options: LoadOptions): Promise<void> {
    if (this.#disposed)
      throw new InputError('component-disposed', `${this.name} was used after it was disposed.`, { component: this.name })
    throwIfAborted(options.signal)
    if (this.#loaded === graph) return
    this.#loaded = undefined
    await this.#backend.load(graph, this.#plan, options)
    this.#loaded = graph
  }

  /** Runs the stages in order. Each value is freed after its last use; the outputs belong to the caller, and `kept` owns what it keeps. */
  async #execute(graph: ComponentGraph, inputs: Inputs, { signal, kept }: RunOptions): Promise<Record<string, DeviceTensor>> {
    const before = kept?.of(graph, inputs, (tensor) => this.#holds(tensor))
    const stages = before === undefined ? graph.stages : graph.stages.filter(({ once }) => once !== true)
    const values = new RunValues({ ...graph, stages })
    const toKeep = new Set(kept === undefined ? [] : keptValues(graph).map(({ name }) => name))
    const made = new Map<string, DeviceTensor>()
    try {
      for (const [name, tensor] of before ?? []) values.borrow(name, tensor)
      for (const info of graph.inputs) {
        const tensor = await this.#resolve(info, inputs[info.name])
        // Several stages read the input: upload it once instead of once for each stage.
        if (values.isShared(info.name) && !(tensor instanceof GpuTensor))
          values.own(info.name, this.#device.upload(tensor, this.name))
        else values.borrow(info.name, tensor)
      }
      for (const stage of stages) {
        throwIfAborted(signal)
        const results = await this.#backend.runStage(stage, values.inputsOf(stage), signal)
        for (const [output, tensor] of Object.entries(results)) {
          const name = stage.outputs[output] ?? output
          if (toKeep.has(name)) {
            made.set(name, tensor)
            values.borrow(name, tensor)
          } else values.own(name, tensor)
        }
        values.finish(stage)
      }
      await this.#backend.verify()
      throwIfAborted(signal)
      if (made.size > 0) kept?.keep(graph, inputs, made)
      return values.takeOutputs()
    } catch (error) {
      for (const tensor of made.values()) tensor.dispose()
      throw await this.#causeOf(error)
    } finally {
      values.dispose()
    }
  }

  /** Whether the backend can read a tensor as it is. */
  #holds(tensor: DeviceTensor): boolean {
    return tensor instanceof GpuTensor ? tensor.buffers === this.#backend.buffers : this.#backend.buffers === undefined
  }

  /**
   * The error to throw for a failed run. Errors of the stages that ran before it are collected here, so that the next run does not report
   * them; if one of them ran out of memory, it caused the failure.
   */
  async #causeOf(failure: unknown): Promise<unknown> {
    try {
      await this.#backend.verify()
    } catch (earlier) {
      if (isAquatintError(earlier) && earlier.code === 'out-of-memory' && !isAbortError(failure)) return earlier
    }
    return failure
  }

  /** An input on this device and in the type that the graph takes. A tensor of another device is copied through the host. */
  async #resolve(info: ValueInfo, tensor: HostTensor | DeviceTensor | undefined): Promise<StageInput> {
    if (tensor === undefined) throw missing(this.name, info)
    let host: HostTensor
    if (tensor instanceof GpuTensor) {
      if (tensor.buffers === this.#backend.buffers && tensor.type === info.type) return tensor
      host = await tensor.download()
    } else if (tensor instanceof CpuTensor) host = tensor.host
    else if ('read' in tensor) throw new InputError('bad-tensor', `${this.name} was given a tensor of another library.`)
    else host = tensor
    checkHostTensor(host, `Input ${info.name} of ${this.name}`)
    const cast = castHost(host, info.type)
    if (cast.type === info.type) return cast
    const details = { component: this.name, input: info.name, actual: cast.type, expected: info.type }
    throw new InputError(
      'type-mismatch',
      `Input ${info.name} of ${this.name} is ${cast.type}; the network expects ${info.type}.`,
      details,
    )
  }
}

function checkRunInputs(component: string, graph: ComponentGraph, inputs: Inputs): void {
  const known = new Set(graph.inputs.map(({ name }) => name))
  for (const name of Object.keys(inputs)) {
    if (known.has(name)) continue
    const message = `${component} has no input ${name}; it has ${[...known].join(', ')}.`
    throw new InputError('unknown-input', message, { component, input: name, allowed: [...known] })
  }
  for (const info of graph.inputs) {
    const actual = inputs[info.name]?.dims
    if (actual === undefined) throw missing(component, info)
    if (actual.length === info.dims.length && actual.every((size, axis) => size === info.dims[axis])) continue
    const message = `Input ${info.name} of ${component} has shape [${actual.join(', ')}]; the network expects [${info.dims.join(', ')}].`
    throw new InputError('shape-mismatch', message, { component, input: info.name, actual, expected: info.dims })
  }
}

function missing(component: string, info: ValueInfo): InputError {
  const message = `${component} was run without its input ${info.name}.`
  return new InputError('input-missing', message, { component, input: info.name })
}
