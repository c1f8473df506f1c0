/** Runs networks on devices that are not mocked: on WebGPU, usually with a software adapter, and on onnxruntime's CPU kernels. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { BoundNetwork } from './bound-network.js'
import { openDevice } from './open-device.js'
import { numbers, testCheckpoint, towerGraph, towerReference, towerShapes, towerSizes, worstError } from './testing.js'
import type { HostTensor } from './types.js'
import { WebGpuDevice } from './webgpu/webgpu-device.js'
import { elementCount } from '../util/element-count.js'
import type { DeviceKind } from '../memory/device-info.js'
import { storageBytes } from '../memory/storage-bytes.js'
import type { Device } from './device.js'

const blocks = 3
const rows = 5
const shapes = { x: [rows, towerSizes.input] }

let device: Device
afterEach(async () => device.dispose())

function tower(options: { granularity: 'component' | 'block'; name?: string; dtype?: 'F32' | 'F16' | 'BF16' }) {
  const checkpoint = testCheckpoint(towerShapes(blocks), options.dtype)
  const graph = towerGraph(blocks, device.writeOptions({ dtype: 'float32', granularity: options.granularity }))
  const component = new BoundNetwork({ name: options.name ?? 'tower', device, table: checkpoint.table, graph, shapes })
  return { component, ...checkpoint }
}

function input(count = rows): HostTensor {
  return { type: 'float32', dims: [count, towerSizes.input], data: numbers(count * towerSizes.input, 99) }
}

/** Bytes that the tower's weights take in buffers of their own. */
const weightBytes = Object.values(towerShapes(blocks)).reduce((sum, shape) => sum + storageBytes(4 * elementCount(shape)), 0)

async function run(component: BoundNetwork, x: Parameters<typeof component.run>[0][string]): Promise<Float32Array> {
  const { y } = await component.run({ x })
  const values = await y!.read()
  y!.dispose()
  return values
}

describe.each(['webgpu', 'wasm'] as const)('on %s', (kind: DeviceKind) => {
  beforeEach(async () => {
    device = await openDevice({ kind })
  })

  test('a network computes what its graph says, in one program and in blocks, from every float type', async () => {
    const x = input()
    for (const dtype of ['F32', 'F16', 'BF16'] as const) {
      const outputs = []
      for (const granularity of ['component', 'block'] as const) {
        const { component, values } = tower({ granularity, dtype })
        const y = await run(component, x)
        // Storing in 16 bits moves each weight by up to 2^-8 of itself; computing in float32 moves the rest by about 2^-20.
        expect(worstError(y, towerReference(values, blocks, x.data as Float32Array, rows))).toBeLessThan(
          dtype === 'F32' ? 1e-5 : 0.1,
        )
        outputs.push(y)
        await component.dispose()
      }
      expect(worstError(outputs[0]!, outputs[1]!)).toBeLessThan(1e-6)
    }
    expect(device.memory.snapshot().liveWeights).toBe(0)
  })

  test('other input shapes use the same weights', async () => {
    const { component, values } = tower({ granularity: 'component' })
    await run(component, input())
    const x = input(2)
    const y = await run(component, x)
    expect(worstError(y, towerReference(values, blocks, x.data as Float32Array, 2))).toBeLessThan(1e-5)
    await component.dispose()
  })

  test('wrong inputs are refused by name, before anything is loaded', async () => {
    const { component, source } = tower({ granularity: 'block' })
    const { data } = input()
    await expect(component.run({ x: input(), z: input() })).rejects.toMatchObject({
      code: 'unknown-input',
      details: { input: 'z' },
    })
    await expect(component.run({})).rejects.toMatchObject({ code: 'input-missing' })
    await expect(component.run({ x: { type: 'float32', dims: [5, 9], data } })).rejects.toMatchObject({ code: 'shape-mismatch' })
    expect(source.reads).toBe(0)
    const ids: HostTensor = { type: 'int32', dims: [rows, 8], data: new Int32Array(40) }
    await expect(component.run({ x: ids })).rejects.toMatchObject({ code: 'type-mismatch', details: { actual: 'int32' } })
    await expect(component.run({ x: { ...ids, type: 'float32' } })).rejects.toMatchObject({ code: 'bad-tensor' })
    await component.dispose()
    await expect(component.run({ x: input() })).rejects.toMatchObject({ code: 'component-disposed' })
  })

  test('a tensor that is missing or has another shape is an error that names it', async () => {
    const { 'last.bias': bias, ...rest } = towerShapes(blocks)
    expect(bias).toEqual([towerSizes.output])
    for (const [weights, code] of [
      [rest, 'tensor-missing'],
      [{ ...rest, 'last.bias': [6] }, 'shape-mismatch'],
    ] as const) {
      const { table, source } = testCheckpoint(weights)
      const graph = towerGraph(blocks, device.writeOptions({ dtype: 'float32', granularity: 'block' }))
      const component = new BoundNetwork({ name: 'tower', device, table, graph, shapes })
      await expect(component.load()).rejects.toMatchObject({ code, details: { tensor: 'last.bias' } })
      expect(source.reads).toBe(0)
      expect(device.memory.snapshot().live).toBe(0)
    }
  })

  test('progress never decreases and ends at the total', async () => {
    const { component } = tower({ granularity: 'block' })
    const seen: [number, number][] = []
    await component.load({ onProgress: (loaded, total) => seen.push([loaded, total]) })
    expect(component.isLoaded).toBe(true)
    expect(seen.map(([loaded]) => loaded)).toEqual(seen.map(([loaded]) => loaded).toSorted((a, b) => a - b))
    const [loaded, total] = seen.at(-1)!
    expect(loaded).toBe(total)
    expect(total).toBe(Object.values(towerShapes(blocks)).reduce((sum, shape) => sum + 4 * elementCount(shape), 0))
    await component.dispose()
  })

  test('a load that is cancelled or whose source fails leaves no weights, and can be repeated', async () => {
    const { component, source, values } = tower({ granularity: 'component' })
    const controller = new AbortController()
    source.onRead = () => controller.abort()
    await expect(component.load({ signal: controller.signal })).rejects.toMatchObject({ name: 'AbortError' })
    expect(device.memory.snapshot()).toMatchObject({ live: 0, liveWeights: 0 })
    expect(component.isLoaded).toBe(false)
    source.onRead = () => Promise.reject(new Error('the disk is gone'))
    await expect(component.load()).rejects.toThrow('the disk is gone')
    expect(device.memory.snapshot()).toMatchObject({ live: 0, liveWeights: 0 })
    source.onRead = () => {}
    const x = input()
    expect(worstError(await run(component, x), towerReference(values, blocks, x.data as Float32Array, rows))).toBeLessThan(1e-5)
    await component.dispose()
  })

  test("after another graph's load failed, the graph before can still run", async () => {
    const { table, source, values } = testCheckpoint(towerShapes(blocks))
    const component = new BoundNetwork({
      name: 'tower',
      device,
      table,
      graph: (asked, on, variant) => {
        const options = on.writeOptions({ dtype: 'float32', granularity: 'component' })
        return towerGraph(variant === 'deeper' ? blocks : blocks - 1, options)(asked)
      },
      shapes,
    })
    const x = input()
    const y = await run(component, x)
    expect(worstError(y, towerReference(values, blocks - 1, x.data as Float32Array, rows))).toBeLessThan(1e-5)
    const controller = new AbortController()
    for (const [onRead, failure] of [
      [() => Promise.reject(new Error('the disk is gone')), { message: 'the disk is gone' }],
      [() => controller.abort(), { name: 'AbortError' }],
    ] as const) {
      source.onRead = onRead
      const running = component.run({ x }, { signal: controller.signal, variant: 'deeper' })
      await expect(running).rejects.toMatchObject(failure)
      // `isLoaded` says whether there are weights that `unload` can free.
      expect(component.isLoaded).toBe(device.memory.snapshot().liveWeights > 0)
      source.onRead = () => {}
      expect(await run(component, x)).toEqual(y)
    }
    const { y: deeper } = await component.run({ x }, { variant: 'deeper' })
    expect(worstError(await deeper!.read(), towerReference(values, blocks, x.data as Float32Array, rows))).toBeLessThan(1e-5)
    deeper!.dispose()
    await component.unload()
    expect(component.isLoaded).toBe(false)
    expect(device.memory.snapshot().liveWeights).toBe(0)
    await component.dispose()
  })
})

test('webgpu and wasm give the same values', async () => {
  const outputs = []
  for (const kind of ['webgpu', 'wasm'] as const) {
    device = await openDevice({ kind })
    const { component } = tower({ granularity: 'block' })
    outputs.push(await run(component, input()))
    await component.dispose()
    await device.dispose()
  }
  expect(worstError(outputs[0]!, outputs[1]!)).toBeLessThan(1e-5)
})

test('auto prefers wasm to a software adapter', async () => {
  device = await openDevice()
  expect(device.info).toMatchObject({ kind: 'wasm', isFallbackAdapter: false })
  await expect(openDevice({ kind: 'cuda' as never })).rejects.toMatchObject({ code: 'bad-device' })
})

describe('on a GPU', () => {
  let gpu: WebGpuDevice
  beforeEach(async () => {
    device = await openDevice({ kind: 'webgpu' })
    if (!(device instanceof WebGpuDevice)) throw new Error('not a WebGPU device')
    gpu = device
  })

  test('the account is exact to the byte', async () => {
    const { component } = tower({ granularity: 'block' })
    await component.load()
    expect(device.memory.snapshot()).toMatchObject({ live: weightBytes, liveWeights: weightBytes, peakWeights: weightBytes })
    const { y } = await component.run({ x: input() })
    expect(device.memory.snapshot().components['tower']).toMatchObject({ weights: weightBytes, peakWeights: weightBytes })
    await component.unload()
    gpu.buffers.trim()
    // What is left is the output, and what onnxruntime keeps for its kernels' uniforms.
    expect(device.memory.snapshot().liveWeights).toBe(0)
    y!.dispose()
    await component.dispose()
    expect(device.memory.snapshot()).toMatchObject({ live: 0, liveWeights: 0 })
  })

  test('equal blocks share one session, also those of two networks', async () => {
    const one = tower({ granularity: 'block', name: 'one' }).component
    const two = tower({ granularity: 'block', name: 'two' }).component
    const a = await run(one, input())
    expect(gpu.sessions.counts).toEqual({ alive: 3, created: 3 })
    const b = await run(two, input())
    expect(gpu.sessions.counts).toEqual({ alive: 3, created: 3 })
    expect(b).toEqual(a)
    await one.dispose()
    expect(gpu.sessions.counts).toEqual({ alive: 3, created: 3 })
    await two.unload()
    expect(await run(two, input())).toEqual(a)
    expect(gpu.sessions.counts).toEqual({ alive: 3, created: 3 })
    await two.dispose()
    expect(gpu.sessions.counts).toEqual({ alive: 0, created: 3 })
  })

  test('repeated runs take no more memory', async () => {
    const { component } = tower({ granularity: 'block' })
    // onnxruntime keeps uniform buffers (16 to 96 bytes) for its kernels, of which the second run still makes some.
    for (let i = 0; i < 2; i++) await run(component, input())
    device.memory.resetPeaks()
    const { live } = device.memory.snapshot()
    for (let i = 0; i < 3; i++) {
      await run(component, input())
      expect(device.memory.snapshot().live).toBe(live)
    }
    // A run holds a staging buffer for its input and, after that one is freed, another for its output: never both at once.
    const staging = 4 * rows * Math.max(towerSizes.input, towerSizes.output)
    expect(device.memory.snapshot().peak).toBeLessThanOrEqual(live + staging)
    await component.dispose()
  })

  test('a run that is cancelled between stages leaves only the weights', async () => {
    const { component } = tower({ granularity: 'block' })
    await run(component, input())
    const y = await run(component, input())
    gpu.buffers.trim()
    const before = device.memory.snapshot()
    const controller = new AbortController()
    const submit = gpu.gpu.queue.submit.bind(gpu.gpu.queue)
    let submits = 0
    gpu.gpu.queue.submit = (commands) => {
      submits++
      submit(commands)
      controller.abort()
    }
    await expect(component.run({ x: input() }, { signal: controller.signal })).rejects.toMatchObject({ name: 'AbortError' })
    gpu.gpu.queue.submit = submit
    expect(submits).toBeLessThan(blocks + 2)
    gpu.buffers.trim()
    expect(device.memory.snapshot()).toEqual(before)
    expect(await run(component, input())).toEqual(y)
    await component.dispose()
  })

  test('an output can be the input of another network, on the same device or on another', async () => {
    const x = device.upload(input(), 'test')
    const { component } = tower({ granularity: 'component' })
    const y = await run(component, x)
    expect(y).toEqual(await run(component, input()))
    const other = await openDevice({ kind: 'wasm' })
    const { table } = testCheckpoint(towerShapes(blocks))
    const graph = towerGraph(blocks, other.writeOptions({ dtype: 'float32', granularity: 'block' }))
    const elsewhere = new BoundNetwork({ name: 'elsewhere', device: other, table, graph, shapes })
    expect(worstError(await run(elsewhere, x), y)).toBeLessThan(1e-5)
    x.dispose()
    await expect(run(elsewhere, x)).rejects.toMatchObject({ code: 'tensor-disposed' })
    await elsewhere.dispose()
    await component.dispose()
    await other.dispose()
  })

  test('a GPU error in a run is reported for that run and for no later one', async () => {
    const { component } = tower({ granularity: 'block' })
    const whole = await run(component, input())
    const x = gpu.upload(input(), 'test')
    // Destroy the buffer without the account's knowledge: the GPU process reports an error when commands use it.
    GPUBuffer.prototype.destroy.call(x.buffer)
    await expect(component.run({ x })).rejects.toMatchObject({
      code: 'gpu-error',
      message: expect.stringMatching(/tower.*destroyed/),
    })
    expect(await run(component, input())).toEqual(whole)
    await component.dispose()
  })
})
