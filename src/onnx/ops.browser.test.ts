/** Compares each operator, in the forms that the networks use, on the GPU with the CPU. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { BoundNetwork } from '../runtime/bound-network.js'
import { openDevice } from '../runtime/open-device.js'
import type { HostTensor } from '../runtime/types.js'
import { ComponentBuilder } from './component-builder.js'
import { floats } from './constants.js'
import type { GraphBuilder } from './graph-builder.js'
import { gelu, matMul, quickGelu, silu } from './ops-math.js'
import { conv, gemm, instanceNormalization, layerNormalization, multiHeadAttention } from './ops-network.js'
import type { ValueInfo } from './types.js'
import { elementCount } from '../util/element-count.js'
import type { Device } from '../runtime/device.js'

let cpu: Device
let gpu: Device
beforeAll(async () => {
  gpu = await openDevice({ kind: 'webgpu' })
  cpu = await openDevice({ kind: 'wasm' })
})
afterAll(async () => {
  await gpu.dispose()
  await cpu.dispose()
})

function values(dims: readonly number[], seed: number): HostTensor {
  const count = elementCount(dims)
  return {
    type: 'float32',
    dims,
    data: Float32Array.from({ length: count }, (_, i) => Math.sin(i * 1.7 + seed * 0.61 + ((i * i) % 7))),
  }
}

type Body = (graph: GraphBuilder, inputs: Record<string, ValueInfo>) => ValueInfo

async function on(device: Device, dims: Record<string, readonly number[]>, body: Body): Promise<Float32Array> {
  const component = new BoundNetwork({
    name: 'op',
    device,
    table: new Map(),
    shapes: dims,
    graph: () => {
      const builder = new ComponentBuilder('op', device.writeOptions({ dtype: 'float32', granularity: 'component' }))
      const inputs = Object.fromEntries(Object.entries(dims).map(([name, size]) => [name, builder.input(name, 'float32', size)]))
      const { y } = builder.stage('op', inputs, (graph, given) => ({ y: body(graph, given) }))
      builder.output('y', y)
      return builder.finish()
    },
  })
  const { y } = await component.run(Object.fromEntries(Object.entries(dims).map(([name, size], i) => [name, values(size, i)])))
  const result = await y!.read()
  y!.dispose()
  await component.dispose()
  return result
}

const causal = (length: number) =>
  Array.from({ length: length * length }, (_, i) => (i % length > Math.floor(i / length) ? -10000 : 0))

const cases: Record<string, { dims: Record<string, readonly number[]>; body: Body }> = {
  gemm: { dims: { a: [77, 32], b: [48, 32], c: [48] }, body: (g, { a, b, c }) => gemm(g, a!, b!, c) },
  layerNormalization: {
    dims: { a: [77, 32], b: [32], c: [32] },
    body: (g, { a, b, c }) => layerNormalization(g, a!, b!, c, 1e-5),
  },
  instanceNormalization: { dims: { a: [2, 4, 64] }, body: (g, { a }) => instanceNormalization(g, a!, 1e-5) },
  matMul: { dims: { a: [2, 1, 77], b: [2, 77, 32] }, body: (g, { a, b }) => matMul(g, a!, b!) },
  quickGelu: { dims: { a: [77, 32] }, body: (g, { a }) => quickGelu(g, a!) },
  gelu: { dims: { a: [77, 32] }, body: (g, { a }) => gelu(g, a!, 'none') },
  silu: { dims: { a: [77, 32] }, body: (g, { a }) => silu(g, a!) },
  conv: {
    dims: { a: [2, 4, 8, 8], b: [16, 4, 3, 3], c: [16] },
    body: (g, { a, b, c }) => conv(g, a!, b!, c, { stride: 1, pads: [1, 1, 1, 1] }),
  },
}
for (const [heads, width, batch, tokens, keys] of [
  [4, 32, 1, 77, 77],
  [4, 32, 2, 64, 77],
  [2, 32, 1, 16, 16],
  [8, 64, 2, 77, 77],
  [2, 128, 1, 77, 77],
  [1, 16, 2, 64, 77],
] as const) {
  const dims = { a: [batch, tokens, width], b: [batch, keys, width], c: [batch, keys, width] }
  cases[`attention, ${heads} heads of ${width / heads}, ${batch}×${tokens} on ${keys}`] = {
    dims,
    body: (g, { a, b, c }) => multiHeadAttention(g, { query: a!, key: b!, value: c! }, heads),
  }
  if (tokens === keys)
    cases[`causal attention, ${heads} heads of ${width / heads}, ${batch}×${tokens}`] = {
      dims,
      body: (g, { a, b, c }) =>
        multiHeadAttention(g, { query: a!, key: b!, value: c!, bias: floats(g, causal(tokens), [1, 1, tokens, tokens]) }, heads),
    }
}

describe('the GPU computes what the CPU computes', () => {
  for (const [name, { dims, body }] of Object.entries(cases)) {
    test(name, async () => {
      const expected = await on(cpu, dims, body)
      const actual = await on(gpu, dims, body)
      let worst = 0
      for (let i = 0; i < expected.length; i++) worst = Math.max(worst, Math.abs((actual[i] ?? NaN) - (expected[i] ?? NaN)))
      // The bound for sums of up to 144 products of numbers up to 1, each rounded to 2^-24 of itself.
      expect(worst).toBeLessThan(1e-4)
    })
  }
})
