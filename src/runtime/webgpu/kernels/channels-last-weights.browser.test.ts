/**
 * Weights of convolutions with channels last, on a real device: which Transposes are left out, and that values are the same to the bit, however buffers are reused.
 */
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { planMemory } from '../../../memory/plan.js'
import { bufferBytes, needsOf, stageWeights } from '../../../memory/needs.js'
import { orThrow } from '../../../memory/refusal.js'
import { ComponentBuilder } from '../../../onnx/component-builder.js'
import { add, silu } from '../../../onnx/ops-math.js'
import { conv, gemm } from '../../../onnx/ops-network.js'
import { reshape } from '../../../onnx/ops-shape.js'
import { randomTensor, relativeError } from '../../../onnx/testing-operators.js'
import type { ComponentGraph, ValueInfo, WriteOptions } from '../../../onnx/types.js'
import { BoundNetwork } from '../../bound-network.js'
import type { Device } from '../../device.js'
import { openDevice } from '../../open-device.js'
import type { GpuTensor } from '../../tensors.js'
import { testCheckpoint } from '../../testing.js'
import { countDispatches } from '../testing-dispatches.js'
import { WebGpuDevice } from '../webgpu-device.js'
import { channelsLastWeights } from './dispatch-stream.js'

const image = [2, 8, 6, 6] as const
const x = randomTensor(image, 1)
const blocks = 6
/** The convolutions: three for each block, and `last`. */
const convolutions = 3 * blocks + 1

/**
 * Each block has three convolutions and a Linear, whose weight takes as many bytes as that of the first convolution. onnxruntime ends a
 * pass after 16 dispatches, so passes end between all kinds of kernels.
 */
const shapes = Object.fromEntries([
  ...Array.from({ length: blocks }, (_, block) => [
    [`blocks.${block}.three.weight`, [8, 8, 3, 3]],
    [`blocks.${block}.three.bias`, [8]],
    [`blocks.${block}.linear.weight`, [24, 24]],
    [`blocks.${block}.wide.weight`, [12, 8, 1, 1]],
    [`blocks.${block}.back.weight`, [8, 12, 3, 3]],
  ]).flat(),
  ['last.weight', [5, 8, 3, 3]],
]) as Record<string, readonly number[]>

function write(options: WriteOptions): ComponentGraph {
  const builder = new ComponentBuilder('convolutions', options)
  let h: ValueInfo = builder.input('x', options.dtype, image)
  for (let block = 0; block < blocks; block++)
    ({ h } = builder.stage(`blocks.${block}`, { h }, (graph, { h }) => {
      const pads = [1, 1, 1, 1] as const
      const three = conv(graph, h, graph.weight('three.weight', [8, 8, 3, 3]), graph.weight('three.bias', [8]), { pads })
      const rows = gemm(graph, reshape(graph, silu(graph, three), [24, 24]), graph.weight('linear.weight', [24, 24]))
      const wide = conv(graph, reshape(graph, rows, image), graph.weight('wide.weight', [12, 8, 1, 1]), undefined)
      const back = conv(graph, wide, graph.weight('back.weight', [8, 12, 3, 3]), undefined, { pads })
      return { h: add(graph, h, back) }
    }))
  const { y } = builder.stage('last', { h }, (graph, { h }) => ({
    y: conv(graph, h, graph.weight('weight', [5, 8, 3, 3]), undefined),
  }))
  builder.output('y', y)
  return builder.finish()
}

let gpu: WebGpuDevice
let theirs: Device
let cpu: Device
const { dispatches, end } = countDispatches()

async function openGpu(): Promise<WebGpuDevice> {
  const device = await openDevice({ kind: 'webgpu' })
  if (!(device instanceof WebGpuDevice)) throw new TypeError('There is no WebGPU here')
  return device
}

beforeAll(async () => {
  gpu = await openGpu()
  theirs = await openDevice({ kind: 'webgpu', kernels: 'onnxruntime' })
  cpu = await openDevice({ kind: 'wasm' })
})
beforeEach(() => dispatches.clear())
afterAll(async () => {
  for (const device of [gpu, theirs, cpu]) await device.dispose()
  end()
})

interface Bound {
  readonly device?: Device
  readonly granularity?: 'component' | 'block'
  readonly dtype?: 'float32' | 'float16'
  /** Whether the weights have other values than by default. */
  readonly isOther?: boolean
}

function bind({ device = gpu, granularity = 'block', dtype = 'float32', isOther = false }: Bound = {}) {
  // The values of a tensor follow from its place in the list.
  const { table } = testCheckpoint(isOther ? { unused: [1], ...shapes } : shapes)
  const graph = write(device.writeOptions({ dtype, granularity }))
  return {
    network: new BoundNetwork({ name: 'convolutions', device, table, graph: () => graph, shapes: { x: image } }),
    graph,
    table,
  }
}

async function run(network: BoundNetwork): Promise<Float32Array> {
  const { y } = await network.run({ x })
  const values = await y!.read()
  y!.dispose()
  return values
}

/** The result of a network that is used only once. */
async function once(options: Bound): Promise<Float32Array> {
  const { network } = bind(options)
  const values = await run(network)
  await network.dispose()
  return values
}

test('no weight is transposed in a run, and the values are those of onnxruntime’s own kernels, to the bit', async () => {
  const expected = await once({ device: theirs })
  expect(relativeError(expected, await once({ device: cpu }))).toBeLessThan(1e-6)
  const transposes = dispatches.get('Transpose') ?? 0
  for (const granularity of ['block', 'component'] as const) {
    dispatches.clear()
    const { network } = bind({ granularity })
    expect(await run(network)).toEqual(expected)
    expect(dispatches.get('ToChannelsLast')).toBe(convolutions)
    dispatches.clear()
    expect(await run(network)).toEqual(expected)
    expect(dispatches.get('ToChannelsLast')).toBeUndefined()
    expect(dispatches.get('Transpose')).toBeLessThanOrEqual(transposes - convolutions)
    await network.dispose()
  }
  expect(gpu.memory.snapshot().live).toBe(0)
})

test('convolutions in float16 read weights with channels last too', async ({ skip }) => {
  if (!gpu.info.shaderF16) return skip()
  const expected = await once({ device: cpu })
  expect(relativeError(await once({ dtype: 'float16' }), expected)).toBeLessThan(2e-3)
  expect(dispatches.get('ToChannelsLast')).toBe(convolutions)
})

test('streamed weights are right in buffers that convolutions and Linears use in turn', async () => {
  const { network, graph, table } = bind()
  const expected = await run(network)
  const needs = needsOf('convolutions', graph, table)
  const total = stageWeights(graph.stages, table).own.reduce((sum, own) => sum + bufferBytes(own), 0)
  for (const share of [0.5, 0.2]) {
    const maxMemory = total * share + (needs.ways[0]?.activationBytes ?? 0)
    const plan = orThrow(planMemory([needs], { offload: 'block', maxMemory })).components[0]!
    expect(plan.streamedBytes).toBeGreaterThan(0)
    await network.setPlan(plan)
    gpu.memory.resetPeaks()
    for (let i = 0; i < 3; i++) expect(await run(network)).toEqual(expected)
    expect(gpu.memory.snapshot().peakWeights).toBe(plan.peakWeightBytes)
  }
  await network.dispose()
})

test('weights are right after they are freed and loaded again, and so are others of the same shapes in the same sessions', async () => {
  const { network } = bind()
  const other = bind({ isOther: true }).network
  const expected = [await run(network), await run(other)]
  expect(expected[0]).not.toEqual(expected[1])
  expect(expected[1]).toEqual(await once({ device: theirs, isOther: true }))
  for (const one of [network, other, network]) {
    await one.unload()
    expect(await run(other)).toEqual(expected[1])
    expect(await run(network)).toEqual(expected[0])
  }
  await network.dispose()
  await other.dispose()
})

/** Uploads x, marks its buffer as a weight with channels last, calls `before`, and returns the result of an Add: x + x. */
async function sum(before: (tensor: GpuTensor) => void): Promise<Float32Array> {
  const builder = new ComponentBuilder('sum', gpu.writeOptions({ dtype: 'float32', granularity: 'component' }))
  const input = builder.input('x', 'float32', image)
  builder.output('y', builder.stage('sum', { input }, (graph, { input }) => ({ y: add(graph, input, input) })).y)
  const network = new BoundNetwork({
    name: 'sum',
    device: gpu,
    table: new Map(),
    graph: () => builder.finish(),
    shapes: { x: image },
  })
  const tensor = gpu.upload(x, 'sum')
  channelsLastWeights(gpu.gpu)?.add(tensor.buffer, image)
  try {
    before(tensor)
    const { y } = await network.run({ x: tensor })
    const values = await y!.read()
    y!.dispose()
    return values
  } finally {
    channelsLastWeights(gpu.gpu)?.wrote(tensor.buffer)
    tensor.dispose()
    await network.dispose()
  }
}

function copy(from: GpuTensor, to: GpuTensor): void {
  const encoder = gpu.gpu.createCommandEncoder()
  encoder.copyBufferToBuffer(from.buffer, 0, to.buffer, 0, to.buffer.size)
  gpu.gpu.queue.submit([encoder.finish()])
}

test('a run fails if a kernel or a copy reads a weight with channels last in the checkpoint’s order, and later runs do not', async () => {
  await expect(sum(() => {})).rejects.toThrow('Add reads a convolution’s weight in the order of the checkpoint')
  await expect(sum((tensor) => copy(tensor, gpu.upload(x, 'target')))).rejects.toThrow(
    'A copy reads a convolution’s weight in the order of the checkpoint',
  )
  expect(await once({})).toEqual(await once({ device: theirs }))
})

test('a buffer into which something else is written no longer counts as a weight with channels last', async () => {
  const doubled = Float32Array.from(x.data as Float32Array, (value) => 2 * value)
  expect(
    await sum((tensor) => gpu.buffers.write(tensor.buffer, 0, new Uint8Array((x.data as Float32Array).slice().buffer))),
  ).toEqual(doubled)
  expect(await sum((tensor) => copy(gpu.upload(x, 'source'), tensor))).toEqual(doubled)
})
