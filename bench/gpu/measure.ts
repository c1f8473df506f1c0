/** Times a network, or a matrix product, on a GPU device of its own. It runs in Node and in a browser. */

import type { WeightTable } from '../../src/checkpoint/types.js'
import type { DeviceKind, KernelSource } from '../../src/memory/device-info.js'
import { ComponentBuilder } from '../../src/onnx/component-builder.js'
import { gemm } from '../../src/onnx/ops-network.js'
import type { ValueInfo } from '../../src/onnx/types.js'
import { bindNetwork, graphOptions, type Network } from '../../src/pipelines/bind-network.js'
import { BoundNetwork } from '../../src/runtime/bound-network.js'
import type { Device } from '../../src/runtime/device.js'
import { assertHealthy } from '../../src/runtime/health.js'
import { openDevice } from '../../src/runtime/open-device.js'
import { castHost } from '../../src/runtime/tensors.js'
import type { HostTensor } from '../../src/runtime/types.js'
import { elementCount } from '../../src/util/element-count.js'

/** The result of a measurement. */
export interface Measurement {
  /** The type that the network computed in. */
  readonly computes: 'float32' | 'float16'
  /** Seconds until the weights were in GPU buffers. */
  readonly loadSeconds: number
  /** Seconds of the first run, which compiles the kernels. */
  readonly firstSeconds: number
  /** Seconds of a later run: the mean of runs that were submitted one after the other. */
  readonly seconds: number
  /** The most bytes of all GPU buffers, and of the buffers with weights. */
  readonly peakBytes: number
  readonly weightBytes: number
}

/** How to measure. */
export interface Options {
  readonly kind: DeviceKind
  readonly kernels: KernelSource
  /** The number of runs after the first one; fewer if the time is up earlier. */
  readonly runs: number
  readonly secondsLeft: () => number
}

interface Timed {
  readonly component: BoundNetwork
  readonly inputs: readonly ValueInfo[]
  readonly computes: 'float32' | 'float16'
}

/** Times a denoiser's step with guidance, or the decoding of an image. `latents`: their height and width. */
export async function measureNetwork(network: Network, options: Options & { readonly latents: number }): Promise<Measurement> {
  return onOwnDevice(options, (device) => {
    const { latents } = options
    const how = { device, dtype: 'float16', granularity: device.info.capabilities.granularity } as const
    const { model } = network
    const graph = graphOptions(network, how)
    const { inputs } = model.write(model.shapes({ height: latents, width: latents }), graph)
    return { component: bindNetwork(network, { ...how, variantOf: () => ({}) }), inputs, computes: graph.dtype }
  })
}

/** Times the product of two square matrices, in float16 if the device has it. The speed of networks is compared with it. */
export async function measureMatrixProduct(size: number, options: Options): Promise<Measurement> {
  return onOwnDevice(options, (device) => {
    const write = device.writeOptions({ dtype: 'float16', granularity: device.info.capabilities.granularity })
    const builder = new ComponentBuilder('product', write)
    const x = builder.input('x', write.dtype, [size, size])
    const { y } = builder.stage('product', { x }, (graph, values) => ({
      y: gemm(graph, values.x, graph.weight('weight', [size, size])),
    }))
    builder.output('y', y)
    const graph = builder.finish()
    const component = new BoundNetwork({
      name: 'product',
      device,
      table: oneMatrix('product.weight', size),
      graph: () => graph,
      shapes: { x: [size, size] },
    })
    return { component, inputs: graph.inputs, computes: write.dtype }
  })
}

function oneMatrix(name: string, size: number): WeightTable {
  const bytes = 2 * size * size
  const source = {
    byteLength: bytes,
    read: async ({ begin, end }: { readonly begin: number; readonly end: number }) =>
      Uint8Array.from({ length: end - begin }, (_, i) => (i % 2 === 0 ? i : 0x20)),
  }
  return new Map([[name, { name, shape: [size, size], dtype: 'F16', source, begin: 0, end: bytes }]])
}

/** Measures on a new device, so that the first run compiles all kernels and no other buffers are counted. */
async function onOwnDevice({ kind, kernels, runs, secondsLeft }: Options, make: (device: Device) => Timed): Promise<Measurement> {
  const device = await openDevice({ kind, kernels })
  try {
    const { component, inputs, computes } = make(device)
    const values = Object.fromEntries(inputs.map((info) => [info.name, wave(info)]))
    const started = performance.now()
    await component.load()
    const loaded = performance.now()
    await repeat(component, values, 1)
    const compiled = performance.now()
    await repeat(component, values, 1)
    const one = (performance.now() - compiled) / 1000
    const more = Math.max(0, Math.min(runs - 1, Math.floor(secondsLeft() / one)))
    if (more > 0) await repeat(component, values, more)
    const ended = performance.now()
    const { peak, peakWeights } = device.memory.snapshot()
    await component.dispose()
    return {
      computes,
      loadSeconds: (loaded - started) / 1000,
      firstSeconds: (compiled - loaded) / 1000,
      seconds: (ended - compiled) / 1000 / (1 + more),
      peakBytes: peak,
      weightBytes: peakWeights,
    }
  } finally {
    await device.dispose()
  }
}

/** Submits runs one after the other, and waits for the result of the last one only. @throws DeviceError if this result is not finite, or all zero */
async function repeat(component: BoundNetwork, inputs: Readonly<Record<string, HostTensor>>, runs: number): Promise<void> {
  for (let run = 1; run <= runs; run++) {
    const outputs = Object.entries(await component.run(inputs))
    if (run === runs) for (const [name, tensor] of outputs) assertHealthy(await tensor.read(), name)
    for (const [, tensor] of outputs) tensor.dispose()
  }
}

/** An input with values between -1 and 1. */
function wave({ type, dims }: ValueInfo): HostTensor {
  const data = Float32Array.from({ length: elementCount(dims) }, (_, i) => Math.sin(i * 12.9898))
  return castHost({ type: 'float32', dims, data }, type)
}
