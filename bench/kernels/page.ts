/** The page of `npm run bench:kernels`: runs a network on a GPU device of its own, and counts the dispatches and the bytes of the buffers bound to them. */

import { matchWeights } from '../../src/models/match-weights.js'
import { networkDefinition } from '../../src/models/registry.js'
import type { NetworkModel } from '../../src/models/types.js'
import { adaptableLayers } from '../../src/pipelines/bind-network.js'
import { NetworkAdapters, type LayerFactors, type NetworkAdapter } from '../../src/pipelines/network-adapters.js'
import type { Config, SafetensorsDType, TensorEntry } from '../../src/checkpoint/types.js'
import type { ValueInfo } from '../../src/onnx/types.js'
import { BoundNetwork } from '../../src/runtime/bound-network.js'
import { KeptValues } from '../../src/runtime/kept-values.js'
import { loadOnnxRuntime } from '../../src/runtime/onnxruntime.js'
import { openDevice } from '../../src/runtime/open-device.js'
import type { KernelSource } from '../../src/memory/device-info.js'
import { WebGpuDevice } from '../../src/runtime/webgpu/webgpu-device.js'
import { elementCount } from '../../src/util/element-count.js'
import { KernelTimes, type KernelTime } from './kernel-times.js'

/** A network to count. */
export interface CountedNetwork {
  /** A class of models/registry.ts. */
  readonly className: string
  readonly config: Config
  /** Edge of the latents, in latent pixels. */
  readonly latents: number
  /** How a LoRA of rank 32 for all Linear layers runs. Absent: there is none. */
  readonly lora?: 'branches' | 'fused' | undefined
}

/** The dispatches of one kernel in a run. */
export interface KernelCount {
  readonly kernel: string
  readonly dispatches: number
  /** Bytes of the buffers that were bound for its dispatches. */
  readonly bytes: number
}

/** What one run dispatched, and its time. */
export interface CountedRun {
  readonly kernels: readonly KernelCount[]
  readonly seconds: number
  /** Only if `timeKernels` was called before the run. */
  readonly times?: readonly KernelTime[] | undefined
}

/** WebGPU's `GPUBufferUsage.STORAGE`: uniforms do not count. */
const storageUsage = 0x80

const counts = new Map<string, { dispatches: number; bytes: number }>()
const labels = new WeakMap<GPUComputePipeline, string>()
const boundBytes = new WeakMap<GPUBindGroup, number>()
const now = new WeakMap<GPUComputePassEncoder, { kernel: string; bytes: number }>()

/** Replaces a method of a prototype: the new method calls the original one, and then `after`. */
function watch<Target extends object>(
  prototype: Target,
  key: keyof Target,
  after: (self: Target, args: readonly unknown[], result: unknown) => void,
): void {
  const own: unknown = Object.getOwnPropertyDescriptor(prototype, key)?.value
  if (typeof own !== 'function') throw new TypeError(`There is no method ${String(key)}`)
  Object.defineProperty(prototype, key, {
    configurable: true,
    value(this: Target, ...args: readonly unknown[]): unknown {
      const result: unknown = Reflect.apply(own, this, args)
      after(this, args, result)
      return result
    },
  })
}

function remember(args: readonly unknown[], pipeline: unknown): void {
  const [descriptor] = args as readonly GPUComputePipelineDescriptor[]
  // onnxruntime labels its shader modules with the kernel's name.
  if (pipeline instanceof GPUComputePipeline) labels.set(pipeline, descriptor?.compute.module.label ?? '')
}

function countDispatches(): void {
  watch(GPUDevice.prototype, 'createComputePipeline', (_, args, pipeline) => remember(args, pipeline))
  watch(GPUDevice.prototype, 'createComputePipelineAsync', (_, args, result) => {
    if (result instanceof Promise) void result.then((pipeline) => remember(args, pipeline))
  })
  watch(GPUDevice.prototype, 'createBindGroup', (_, args, group) => {
    const [descriptor] = args as readonly GPUBindGroupDescriptor[]
    let bytes = 0
    for (const { resource } of descriptor?.entries ?? []) {
      const bound = 'buffer' in resource ? resource : { buffer: resource }
      if (bound.buffer instanceof GPUBuffer && (bound.buffer.usage & storageUsage) !== 0)
        bytes += ('size' in bound ? bound.size : undefined) ?? bound.buffer.size
    }
    if (group instanceof GPUBindGroup) boundBytes.set(group, bytes)
  })
  watch(GPUComputePassEncoder.prototype, 'setPipeline', (pass, args) => {
    const [pipeline] = args
    if (pipeline instanceof GPUComputePipeline)
      now.set(pass, { kernel: labels.get(pipeline) ?? '', bytes: now.get(pass)?.bytes ?? 0 })
  })
  watch(GPUComputePassEncoder.prototype, 'setBindGroup', (pass, args) => {
    const [, group] = args
    const bytes = group instanceof GPUBindGroup ? (boundBytes.get(group) ?? 0) : 0
    now.set(pass, { kernel: now.get(pass)?.kernel ?? '', bytes })
  })
  for (const call of ['dispatchWorkgroups', 'dispatchWorkgroupsIndirect'] as const)
    watch(GPUComputePassEncoder.prototype, call, (pass) => {
      const { kernel = '', bytes = 0 } = now.get(pass) ?? {}
      const count = counts.get(kernel) ?? { dispatches: 0, bytes: 0 }
      counts.set(kernel, { dispatches: count.dispatches + 1, bytes: count.bytes + bytes })
    })
}

/**
 * Compiles kernels with empty bodies from now on: dispatches and bytes stay the same, and a count takes seconds on a software adapter. The
 * empty bodies name each binding, so that the pipeline's layout contains it.
 */
function emptyKernels(): void {
  const compile: unknown = Object.getOwnPropertyDescriptor(GPUDevice.prototype, 'createShaderModule')?.value
  if (typeof compile !== 'function') throw new TypeError('There is no method createShaderModule')
  GPUDevice.prototype.createShaderModule = function (descriptor) {
    const { code } = descriptor
    const body = code.indexOf('{', code.indexOf('@compute')) + 1
    const bindings = [...code.matchAll(/@binding\(\d+\) var<[^>]+> (\w+)/g)].map(([, name]) => `_ = &${name};`)
    return Reflect.apply(compile, this, [{ ...descriptor, code: `${code.slice(0, body)}${bindings.join(' ')}}` }])
  }
}

let kernelTimes: KernelTimes | undefined

/** Times each kernel of the runs from now on. */
function timeKernels(): null {
  kernelTimes = new KernelTimes((pipeline) => labels.get(pipeline) ?? '')
  return null
}

/** Counts the dispatches of `run`, and returns when the GPU has finished. */
async function counted(device: WebGpuDevice, run: () => Promise<void>): Promise<CountedRun> {
  counts.clear()
  kernelTimes?.clear()
  const begun = performance.now()
  await run()
  await device.buffers.submittedWorkDone()
  const seconds = (performance.now() - begun) / 1000
  const kernels = [...counts].map(([kernel, count]) => Object.assign({ kernel }, count))
  return { seconds, kernels, times: await kernelTimes?.read(device.gpu) }
}

async function openGpu(kernels: KernelSource): Promise<WebGpuDevice> {
  const device = await openDevice({ kind: 'webgpu', kernels })
  if (!(device instanceof WebGpuDevice)) throw new TypeError('There is no WebGPU here')
  return device
}

function readZeros({ begin, end }: { readonly begin: number; readonly end: number }): Promise<Uint8Array<ArrayBuffer>> {
  return Promise.resolve(new Uint8Array(end - begin))
}

/** A tensor of zeros for a weight: counts and times do not depend on the values. */
function zeros({ type, dims }: ValueInfo, name: string): TensorEntry {
  const dtype: SafetensorsDType = type === 'float16' ? 'F16' : 'F32'
  const end = elementCount(dims) * (type === 'float16' ? 2 : 4)
  return { name, dtype, shape: dims, source: { byteLength: end, read: readZeros }, begin: 0, end }
}

/** A LoRA of rank 32 for all Linear layers of a network. */
function loraOf(model: NetworkModel): NetworkAdapter {
  const linear = [...adaptableLayers(model)].filter(([, { length }]) => length === 2)
  const layers = linear.map(([layer, [out = 0, columns = 0]]): [string, LayerFactors] => {
    const factors: readonly ValueInfo[] = [
      { name: 'lora_A', type: 'float32', dims: [32, columns] },
      { name: 'lora_B', type: 'float32', dims: [out, 32] },
    ]
    const tensors = new Map(factors.map((info) => [info.name, zeros(info, info.name)]))
    return [layer, { form: { kind: 'low-rank', rank: 32 }, tensors, scaling: 1 }]
  })
  return { id: 0, layers: new Map(layers) }
}

/** A network on a device of its own. Its runs are counted. */
interface Runner {
  readonly run: () => Promise<CountedRun>
  readonly close: () => Promise<void>
}

/** Aquatint's graph. The first run compiles the kernels, and computes what depends on the prompt alone. */
async function ownRunner({ className, config, latents, lora }: CountedNetwork): Promise<Runner> {
  const name = className
  const model = networkDefinition(className).fromConfig(config)
  if (model.role !== 'denoiser') throw new TypeError(`${name} is no denoiser`)
  const device = await openGpu('aquatint')
  const options = device.writeOptions({ dtype: 'float32', granularity: 'block' })
  const shapes = model.shapes({ height: latents, width: latents })
  const plain = model.write(shapes, options)
  const weightTable = new Map<string, TensorEntry>()
  for (const { program, weights } of plain.stages)
    for (const info of program.weights) {
      const tensor = weights[info.name] ?? info.name
      weightTable.set(tensor, zeros(info, tensor))
    }
  const adapters = new NetworkAdapters(weightTable, model)
  const active = lora === undefined ? [] : [{ adapter: loraOf(model), weight: 1 }]
  adapters.activate(lora === 'branches' ? active : [], lora === 'fused' ? active : [])
  const { table } = adapters
  const graph = model.write(shapes, { ...options, adapters: adapters.branches })
  const write = () => matchWeights(model, [graph], table).graphs[0] ?? graph
  const network = new BoundNetwork({ name, device, table, graph: write, shapes, ownInputs: () => adapters.inputs })
  const inputs = Object.fromEntries(
    plain.inputs.map(({ name: input, dims }) => {
      const data = new Float32Array(elementCount(dims))
      return [input, device.upload({ type: 'float32', dims, data }, name)]
    }),
  )
  const kept = new KeptValues()
  return {
    run: () =>
      counted(device, async () => {
        for (const tensor of Object.values(await network.run(inputs, { kept }))) tensor.dispose()
      }),
    close: async () => {
      kept.dispose()
      for (const tensor of Object.values(inputs)) tensor.dispose()
      await network.dispose()
      await device.dispose()
    },
  }
}

/** An ONNX file of the same network, with onnxruntime's own kernels. */
async function exportRunner(url: string): Promise<Runner> {
  const device = await openGpu('onnxruntime')
  const { InferenceSession, Tensor } = await loadOnnxRuntime('webgpu')
  const model = new Uint8Array(await (await fetch(url)).arrayBuffer())
  const session = await InferenceSession.create(model, {
    executionProviders: [{ name: 'webgpu', device: device.gpu }],
    preferredOutputLocation: 'gpu-buffer',
    logSeverityLevel: 3,
  })
  const feeds = Object.fromEntries(
    session.inputMetadata.flatMap((info) => {
      if (!info.isTensor) return []
      const dims = info.shape.map(Number)
      const count = elementCount(dims)
      const data = info.type === 'int64' ? new BigInt64Array(count) : new Float32Array(count)
      return [[info.name, data instanceof BigInt64Array ? new Tensor('int64', data, dims) : new Tensor('float32', data, dims)]]
    }),
  )
  return {
    run: () =>
      counted(device, async () => {
        for (const tensor of Object.values(await session.run(feeds))) tensor.dispose()
      }),
    close: async () => {
      await session.release()
      await device.dispose()
    },
  }
}

const open = new Map<string, Runner>()

/** Opens a network, or the ONNX file at an address, and runs it once. That run compiles its kernels. */
async function openRunner(network: CountedNetwork | string): Promise<CountedRun> {
  const runner = await (typeof network === 'string' ? exportRunner(network) : ownRunner(network))
  open.set(typeof network === 'string' ? 'export' : 'own', runner)
  return runner.run()
}

/** Runs Aquatint's graph or the ONNX file once more. */
async function runAgain(which: 'own' | 'export'): Promise<CountedRun> {
  const runner = open.get(which)
  if (runner === undefined) throw new Error(`${which} is not open`)
  return runner.run()
}

async function closeAll(): Promise<null> {
  for (const runner of open.values()) await runner.close()
  open.clear()
  return null
}

countDispatches()
Object.assign(globalThis, { openRunner, runAgain, closeAll, emptyKernels, timeKernels })
