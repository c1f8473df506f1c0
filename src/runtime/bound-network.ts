/**
 * A network bound to a device: knows the graph for each set of input shapes, has the backend load its weights, and runs its stages in
 * order, passing values from one to the next and freeing each after its last use. Knows no model and no onnxruntime.
 */

import { InputError, isAquatintError } from '../errors.js'
import type { ComponentGraph, Stage, ValueInfo, Shapes } from '../onnx/types.js'
import { isAbortError, throwIfAborted } from '../util/abort.js'
import type { Backend, StageInput } from './backend.js'
import { Mutex } from '../util/mutex.js'
import { createBackend } from './open-device.js'
import { castHost, checkHostTensor, CpuTensor, GpuTensor } from './tensors.js'
import type { Component, ComponentOptions, Device, DeviceTensor, HostTensor, LoadOptions, RunOptions } from './types.js'

type Inputs = Readonly<Record<string, HostTensor | DeviceTensor>>

/** Binds a network to a device. Nothing is loaded yet. */
export function createComponent(options: ComponentOptions): Component {
  return new GraphComponent(options)
}

class GraphComponent implements Component {
  readonly name: string
  readonly #options: ComponentOptions
  #backend: Backend
  #device: Device
  #budget: number | undefined
  readonly #graphs = new Map<string, ComponentGraph>()
  /** Loads, runs and unloads come one after the other. */
  readonly #lock = new Mutex()
  /** The graph that is ready to run. Weights may be there without one: where another graph's load failed. */
  #loaded: ComponentGraph | undefined
  #disposed = false

  constructor(options: ComponentOptions) {
    this.name = options.name
    this.#options = options
    this.#budget = options.weightBudget
    this.#device = options.device
    this.#backend = createBackend(options.device, options.name, options.table)
  }

  get isLoaded(): boolean {
    return this.#backend.isLoaded
  }

  get weightBudget(): number | undefined {
    return this.#budget
  }

  async load(options: LoadOptions = {}): Promise<void> {
    await this.#lock.run(() => this.#load(this.#loaded ?? this.#graphFor(this.#options.shapes), options), options.signal)
  }

  async run(inputs: Inputs, options: RunOptions = {}): Promise<Record<string, DeviceTensor>> {
    return this.#lock.run(async () => {
      const graph = this.#graphFor(
        Object.fromEntries(Object.entries(inputs).map(([name, tensor]) => [name, tensor.dims])),
        options.variant,
      )
      checkInputs(this.name, graph, inputs)
      await this.#load(graph, options)
      return this.#execute(graph, inputs, options.signal)
    }, options.signal)
  }

  async setWeightBudget(bytes: number | undefined): Promise<void> {
    await this.unload()
    this.#budget = bytes
  }

  async moveTo(device: Device): Promise<void> {
    await this.#lock.run(async () => {
      const next = createBackend(device, this.name, this.#options.table)
      this.#loaded = undefined
      // Graphs say where weights come from, which differs from one kind of device to another.
      if (device.info.kind !== this.#device.info.kind) this.#graphs.clear()
      await this.#backend.dispose()
      this.#backend = next
      this.#device = device
    })
  }

  async unload(): Promise<void> {
    await this.#lock.run(async () => {
      this.#loaded = undefined
      await this.#backend.unload()
    })
  }

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
    await this.#backend.load(graph, this.#budget, options)
    this.#loaded = graph
  }

  async #execute(graph: ComponentGraph, inputs: Inputs, signal: AbortSignal | undefined): Promise<Record<string, DeviceTensor>> {
    const uses = countUses(graph)
    const values = new Map<string, StageInput | CpuTensor>()
    const ours = new Set<DeviceTensor>()
    const keep = (name: string, tensor: DeviceTensor) => {
      ours.add(tensor)
      if (tensor instanceof GpuTensor || tensor instanceof CpuTensor) values.set(name, tensor)
    }
    const drop = (name: string) => {
      const left = (uses.get(name) ?? 0) - 1
      uses.set(name, left)
      const value = values.get(name)
      if (left > 0 || value === undefined || !isDeviceTensor(value) || !ours.has(value)) return
      value.dispose()
      ours.delete(value)
      values.delete(name)
    }
    try {
      for (const info of graph.inputs) {
        const tensor = await this.#resolve(info, inputs[info.name])
        // Read by several stages: once to the device rather than with each.
        if ((uses.get(info.name) ?? 0) > 1 && !(tensor instanceof GpuTensor))
          keep(info.name, this.#device.upload(tensor, this.name))
        else values.set(info.name, tensor)
      }
      for (const stage of graph.stages) {
        throwIfAborted(signal)
        const results = await this.#backend.runStage(stage, stageInputs(stage, values), signal)
        for (const [name, tensor] of Object.entries(results)) keep(stage.outputs[name] ?? name, tensor)
        for (const name of Object.values(stage.inputs)) drop(name)
        // An output that nothing reads.
        for (const name of Object.values(stage.outputs)) if ((uses.get(name) ?? 0) === 0) drop(name)
      }
      await this.#backend.verify()
      throwIfAborted(signal)
      const outputs: Record<string, DeviceTensor> = {}
      for (const { name } of graph.outputs) {
        const value = values.get(name)
        if (value !== undefined && isDeviceTensor(value)) outputs[name] = value
      }
      for (const tensor of Object.values(outputs)) ours.delete(tensor)
      return outputs
    } catch (error) {
      throw await this.#firstOf(error)
    } finally {
      for (const tensor of ours) tensor.dispose()
    }
  }

  /** What the stages before did wrong is not the next run's. Where one had no room, that is what the failure came of. */
  async #firstOf(failure: unknown): Promise<unknown> {
    try {
      await this.#backend.verify()
    } catch (earlier) {
      if (isAquatintError(earlier) && earlier.code === 'out-of-memory' && !isAbortError(failure)) return earlier
    }
    return failure
  }

  /** An input where and in the type that the graph wants it. A tensor of another device comes over the host. */
  async #resolve(info: ValueInfo, tensor: HostTensor | DeviceTensor | undefined): Promise<StageInput> {
    if (tensor === undefined) throw missing(this.name, info)
    let host: HostTensor
    if (tensor instanceof GpuTensor) {
      if (tensor.buffers === this.#backend.buffers && tensor.type === info.type) return tensor
      host = await tensor.download()
    } else if (tensor instanceof CpuTensor) host = tensor.host
    else if (isDeviceTensor(tensor))
      throw new InputError('bad-tensor', `${this.name} was given a tensor that is not of this runtime.`)
    else host = tensor
    checkHostTensor(host, `Input ${info.name} of ${this.name}`)
    const cast = castHost(host, info.type)
    if (cast.type === info.type) return cast
    const details = { component: this.name, input: info.name, actual: cast.type, expected: info.type }
    throw new InputError(
      'type-mismatch',
      `Input ${info.name} of ${this.name} is ${cast.type}; the network wants ${info.type}.`,
      details,
    )
  }
}

function isDeviceTensor(value: StageInput | DeviceTensor): value is DeviceTensor {
  return 'read' in value
}

function stageInputs(stage: Stage, values: ReadonlyMap<string, StageInput | CpuTensor>): Record<string, StageInput> {
  const inputs: Record<string, StageInput> = {}
  for (const [name, from] of Object.entries(stage.inputs)) {
    const value = values.get(from)
    if (value !== undefined) inputs[name] = value instanceof CpuTensor ? value.host : value
  }
  return inputs
}

/** How often each value is read, by stages and as an output of the component. */
function countUses(graph: ComponentGraph): Map<string, number> {
  const uses = new Map<string, number>()
  const names = [...graph.stages.flatMap((stage) => Object.values(stage.inputs)), ...graph.outputs.map(({ name }) => name)]
  for (const name of names) uses.set(name, (uses.get(name) ?? 0) + 1)
  return uses
}

function checkInputs(component: string, graph: ComponentGraph, inputs: Inputs): void {
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
    const message = `Input ${info.name} of ${component} has shape [${actual.join(', ')}]; the network wants [${info.dims.join(', ')}].`
    throw new InputError('shape-mismatch', message, { component, input: info.name, actual, expected: info.dims })
  }
}

function missing(component: string, info: ValueInfo): InputError {
  const message = `${component} was run without its input ${info.name}.`
  return new InputError('input-missing', message, { component, input: info.name })
}
