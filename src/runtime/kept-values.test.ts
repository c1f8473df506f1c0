import { expect, test, vi } from 'vitest'
import { ComponentBuilder } from '../onnx/component-builder.js'
import { add } from '../onnx/ops-math.js'
import { gemm } from '../onnx/ops-network.js'
import { BoundNetwork } from './bound-network.js'
import { KeptValues } from './kept-values.js'
import { testCheckpoint } from './testing.js'
import type { HostTensor } from './types.js'
import { WasmBackend } from './wasm/wasm-backend.js'
import { WasmDevice } from './wasm/wasm-device.js'

const names = ['prompt', 'attend'] as const

/** y = x + prompt · weightᵀ, where the product runs once. */
function graph() {
  const builder = new ComponentBuilder('test', { dtype: 'float32', weights: 'initializer', granularity: 'block' })
  const x = builder.input('x', 'float32', [1, 2])
  const prompt = builder.input('prompt', 'float32', [1, 2])
  const { key } = builder.onceStage(names[0], { prompt }, (graph, inputs) => ({
    key: gemm(graph, inputs.prompt, graph.weight('weight', [2, 2])),
  }))
  const { y } = builder.stage(names[1], { x, key }, (graph, inputs) => ({ y: add(graph, inputs.x, inputs.key) }))
  builder.output('y', y)
  return builder.finish()
}

const host = (...data: number[]): HostTensor => ({ type: 'float32', dims: [1, data.length], data: Float32Array.from(data) })

test('stages that run once run in the first run, and again for another prompt, without kept values, or after those were disposed', async () => {
  const device = await WasmDevice.open()
  const { table } = testCheckpoint({ 'prompt.weight': [2, 2] })
  const network = new BoundNetwork({ name: 'test', device, table, graph, shapes: {} })
  const ran = vi.spyOn(WasmBackend.prototype, 'runStage')
  const kept = new KeptValues()
  const stagesOf = async (x: number, prompt: HostTensor | ReturnType<typeof device.upload>, keeps?: KeptValues) => {
    ran.mockClear()
    const { y } = await network.run({ x: host(x, 0), prompt }, { kept: keeps })
    return { ran: ran.mock.calls.map(([{ name }]) => name), y: await y?.read() }
  }
  const [first, second] = [device.upload(host(1, 2)), device.upload(host(3, 4))]
  const plain = [await stagesOf(5, first), await stagesOf(6, first), await stagesOf(6, second)]
  expect(plain.map(({ ran }) => ran)).toEqual([[...names], [...names], [...names]])
  const all = [await stagesOf(5, first, kept), await stagesOf(6, first, kept), await stagesOf(6, second, kept)]
  expect(all.map(({ ran }) => ran)).toEqual([[...names], ['attend'], [...names]])
  expect(all.map(({ y }) => y)).toEqual(plain.map(({ y }) => y))
  expect((await stagesOf(6, second, kept)).ran).toEqual(['attend'])
  kept.dispose()
  expect((await stagesOf(6, second, kept)).ran).toEqual([...names])
  kept.dispose()
  await network.dispose()
  vi.restoreAllMocks()
})
