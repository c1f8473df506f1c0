/** Both WebGPU builds of onnxruntime-web: the one for browsers that suspend WebAssembly, and the one for the rest. */
import { expect, test } from 'vitest'
import { BoundNetwork } from './bound-network.js'
import { buildFor, loadOnnxRuntime } from './onnxruntime.js'
import { openDevice } from './open-device.js'
import { numbers, testCheckpoint, towerGraph, towerReference, towerShapes, towerSizes, worstError } from './testing.js'

test('the build is chosen by what the browser can do', () => {
  expect(buildFor('wasm')).toBe('wasm')
  expect(buildFor('webgpu', { Suspending: true })).toBe('jspi')
  expect(buildFor('webgpu', {})).toBe('webgpu')
})

test('a build is loaded once', async () => {
  const [first, second] = await Promise.all([loadOnnxRuntime('wasm'), loadOnnxRuntime('wasm')])
  expect(first).toBe(second)
})

test('networks also run in a browser that cannot suspend WebAssembly', async () => {
  const suspending = Object.getOwnPropertyDescriptor(WebAssembly, 'Suspending')!
  Reflect.deleteProperty(WebAssembly, 'Suspending')
  try {
    const device = await openDevice({ kind: 'webgpu' })
    const { table, values } = testCheckpoint(towerShapes(2))
    const graph = towerGraph(2, device.writeOptions({ dtype: 'float32', granularity: 'block' }))
    const x = { type: 'float32', dims: [3, towerSizes.input], data: numbers(3 * towerSizes.input, 5) } as const
    const component = new BoundNetwork({ name: 'tower', device, table, graph, shapes: { x: x.dims } })
    const { y } = await component.run({ x })
    expect(worstError(await y!.read(), towerReference(values, 2, x.data, 3))).toBeLessThan(1e-5)
    y!.dispose()
    await component.dispose()
    expect(device.memory.snapshot().live).toBe(0)
    await device.dispose()
  } finally {
    Object.defineProperty(WebAssembly, 'Suspending', suspending)
  }
})
