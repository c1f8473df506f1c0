/**
 * A network on the CPU: each stage has a session of its own, with the stage's weights as initializers. onnxruntime copies them into its heap
 * while it makes the session, so at most one stage's weights are in JavaScript's memory at a time.
 */

import type { WeightTable } from '../../checkpoint/types.js'
import { DeviceError } from '../../errors.js'
import type { ComponentGraph, ElementType, Stage } from '../../onnx/types.js'
import { throwIfAborted } from '../../util/abort.js'
import { nextTurn } from '../../util/next-turn.js'
import type { Backend, StageInput } from '../backend.js'
import type { Allocation, MemoryAccount } from '../memory-account.js'
import { explained, onnxruntimeLock, type OnnxRuntime, type OrtTensor, type Session } from '../onnxruntime.js'
import { checkHostTensor, CpuTensor, GpuTensor } from '../tensors.js'
import type { DeviceTensor, HostTensor, LoadOptions } from '../types.js'
import { streamWeights } from '../weight-stream.js'
import { elementCount } from '../../util/element-count.js'
import type { WeightPlan } from '../../memory/plan.js'
import { weightKey, weightsOf, type WeightKey } from '../../memory/needs.js'

/** The part of the device that a backend uses. */
export interface WasmRuntime {
  readonly runtime: OnnxRuntime
  readonly memory: MemoryAccount
  /** @throws DeviceError `device-disposed` */
  assertUsable(): void
}

interface LoadedStage {
  readonly session: Session
  readonly allocation: Allocation
}

/** The CPU's side of one bound network. */
export class WasmBackend implements Backend {
  readonly buffers = undefined
  readonly #device: WasmRuntime
  readonly #name: string
  readonly #table: WeightTable
  /** The loaded stages, of one graph at a time: the sessions of a second graph would contain the same weights again. */
  #stages = new Map<Stage, LoadedStage>()

  constructor(device: WasmRuntime, name: string, table: WeightTable) {
    this.#device = device
    this.#name = name
    this.#table = table
  }

  get isLoaded(): boolean {
    return this.#stages.size > 0
  }

  async load(graph: ComponentGraph, _plan: WeightPlan | undefined, { signal, onProgress }: LoadOptions): Promise<void> {
    if (graph.stages.every((stage) => this.#stages.has(stage))) return
    // Check everything before reading anything.
    const total = [...weightsOf(graph.stages, this.#table).values()].reduce((sum, { bytes }) => sum + bytes, 0)
    this.#device.assertUsable()
    await this.unload()
    let loaded = 0
    onProgress?.(0, total)
    try {
      for (const stage of graph.stages) {
        throwIfAborted(signal)
        const made = await this.#loadStage(stage, signal, (bytes) => {
          loaded += bytes
          onProgress?.(Math.min(loaded, total), total)
        })
        this.#stages.set(stage, made)
      }
    } catch (error) {
      await this.unload()
      throw error
    }
  }

  async #loadStage(stage: Stage, signal: AbortSignal | undefined, onBytes: (bytes: number) => void): Promise<LoadedStage> {
    const wanted = weightsOf([stage], this.#table)
    const bytes = [...wanted.values()].reduce((sum, weight) => sum + weight.bytes, 0)
    const allocation = this.#device.memory.allocate(this.#name, 'weights', bytes)
    try {
      const data = await this.#read(wanted, signal, onBytes)
      const externalData = stage.program.weights.flatMap((info) => {
        const found = data.get(weightKey(stage.weights[info.name] ?? info.name, info))
        return found === undefined ? [] : [{ path: info.name, data: found }]
      })
      await nextTurn()
      const session = await onnxruntimeLock.run(
        () =>
          explained(`compiling ${this.#name} (${stage.name})`, () =>
            withSecondAttempt(() =>
              this.#device.runtime.InferenceSession.create(stage.program.model, {
                executionProviders: ['wasm'],
                externalData,
                logSeverityLevel: 3,
              }),
            ),
          ),
        signal,
      )
      return { session, allocation }
    } catch (error) {
      allocation.release()
      throw error
    }
  }

  async #read(
    wanted: ReadonlyMap<string, WeightKey>,
    signal: AbortSignal | undefined,
    onBytes: (bytes: number) => void,
  ): Promise<Map<string, Uint8Array>> {
    const data = new Map<string, Uint8Array>()
    for (const { key, bytes } of wanted.values()) data.set(key, new Uint8Array(bytes))
    await streamWeights(
      [...wanted.values()],
      ({ wanted: { key }, byteOffset, bytes }) => {
        data.get(key)?.set(bytes, byteOffset)
        onBytes(bytes.byteLength)
      },
      signal,
    )
    return data
  }

  async runStage(
    stage: Stage,
    inputs: Readonly<Record<string, StageInput>>,
    signal: AbortSignal | undefined,
  ): Promise<Record<string, DeviceTensor>> {
    const loaded = this.#stages.get(stage)
    if (loaded === undefined)
      throw new DeviceError('not-loaded', `${stage.name} of ${this.#name} is not loaded.`, { stage: stage.name })
    const { Tensor } = this.#device.runtime
    const feeds: Record<string, OrtTensor> = {}
    for (const { name, type, dims } of stage.program.inputs) {
      const tensor = inputs[name]
      if (tensor !== undefined && !(tensor instanceof GpuTensor)) feeds[name] = new Tensor(type, tensor.data, dims)
    }
    // A run blocks the thread: handle a cancel and messages from the page before it.
    await nextTurn()
    const results = await onnxruntimeLock.run(
      () => explained(`running ${this.#name} (${stage.name})`, () => loaded.session.run(feeds)),
      signal,
    )
    return Object.fromEntries(
      stage.program.outputs.map(({ name, type, dims }) => [name, new CpuTensor(this.#output(stage, type, dims, results[name]))]),
    )
  }

  /** Nothing is pending: a stage has finished when its call returns. */
  async verify(): Promise<void> {}

  #output(stage: Stage, type: ElementType, dims: readonly number[], result: OrtTensor | undefined): HostTensor {
    const data = result?.data
    if (result === undefined || Array.isArray(data) || data?.length !== elementCount(dims)) {
      const actual = result === undefined ? 'nothing' : `${result.type}[${result.dims.join(', ')}]`
      const message = `${stage.name} gave ${actual} where ${type}[${dims.join(', ')}] was expected.`
      throw new DeviceError('bad-output', message, { stage: stage.name, actual, expected: dims })
    }
    const tensor = { type, dims, data: data as HostTensor['data'] }
    checkHostTensor(tensor, `An output of ${stage.name}`)
    return tensor
  }

  async unload(): Promise<void> {
    const stages = [...this.#stages.values()]
    this.#stages = new Map()
    for (const { session, allocation } of stages) {
      try {
        await onnxruntimeLock.run(() => session.release())
      } finally {
        allocation.release()
      }
    }
  }

  async dispose(): Promise<void> {
    await this.unload()
  }
}

/**
 * Part of onnxruntime's error message when its table of values lacks a name that the model uses. An invalid model does not cause
 * this error: onnxruntime checks all names before it fills the table.
 */
const lostName = 'Could not find OrtValue with name'

/**
 * Creates a session. If onnxruntime loses a name of the model, tries once more. In WebKitGTK 2.50.6, a name was lost in 2 of about 180 first
 * loads of a page, each time another one, in a model that all other loads accepted. The cause is unknown. Both errors occurred
 * before this function was added, so a second attempt has not been observed yet.
 */
export async function withSecondAttempt(create: () => Promise<Session>): Promise<Session> {
  try {
    return await create()
  } catch (error) {
    if (!String(error).includes(lostName)) throw error
    return create()
  }
}
