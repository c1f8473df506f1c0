/**
 * Generations on the CPU in which one run of a network fails, whichever it is: the image is that of a generation without a failure, each step is
 * reported once, and every tensor is disposed once.
 */

import { join } from 'node:path'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { DeviceError, isAquatintError } from '../../errors.js'
import type { Device } from '../../runtime/device.js'
import type { CpuTensor } from '../../runtime/tensors.js'
import type { DeviceTensor } from '../../runtime/types.js'
import { WasmDevice } from '../../runtime/wasm/wasm-device.js'
import { loadPipeline } from '../diffusion-pipeline.js'
import { ComponentHost } from '../execution/component-host.js'
import { diskRepository, fixtures } from '../testing.node.js'
import type { GenerateOptions } from '../types.js'

const repository = diskRepository(join(fixtures, 'tiny-sd15', 'repo'))
const size = { width: 32, height: 32 }
const image = { ...size, data: Uint8ClampedArray.from({ length: 32 * 32 * 4 }, (_, i) => (i * 7) % 256) }
/** Draws noise in each step, and starts from an image, so that each half of the autoencoder runs. */
const options: GenerateOptions = {
  image,
  strength: 1,
  seed: 3,
  numInferenceSteps: 2,
  numImagesPerPrompt: 2,
  scheduler: { className: 'EulerAncestralDiscreteScheduler' },
}

/**
 * The tensors on the CPU devices that are not disposed, and how often one was disposed again. As on a GPU, a device does not hold the tensors of
 * another one, and its tensors go with it.
 */
class Tensors {
  readonly #deviceOf = new Map<DeviceTensor, Device>()
  disposedAgain = 0

  constructor() {
    const track = (tensor: CpuTensor, device: Device) => this.track(tensor, device)
    const { combine, assemble, upload } = WasmDevice.prototype
    vi.spyOn(WasmDevice.prototype, 'combine').mockImplementation(function (this: WasmDevice, ...inputs) {
      return track(combine.apply(this, inputs), this)
    })
    vi.spyOn(WasmDevice.prototype, 'assemble').mockImplementation(function (this: WasmDevice, ...inputs) {
      return track(assemble.apply(this, inputs), this)
    })
    vi.spyOn(WasmDevice.prototype, 'upload').mockImplementation(function (this: WasmDevice, ...inputs) {
      return track(upload.apply(this, inputs), this)
    })
    const deviceOf = this.#deviceOf
    vi.spyOn(WasmDevice.prototype, 'holds').mockImplementation(function (this: WasmDevice, tensor) {
      return deviceOf.get(tensor) === this
    })
    const { dispose } = WasmDevice.prototype
    vi.spyOn(WasmDevice.prototype, 'dispose').mockImplementation(async function (this: WasmDevice) {
      for (const [tensor, device] of deviceOf) if (device === this && lost.has(device)) deviceOf.delete(tensor)
      await dispose.apply(this)
    })
  }

  get live(): number {
    return this.#deviceOf.size
  }

  track<T extends DeviceTensor>(tensor: T, device: Device): T {
    this.#deviceOf.set(tensor, device)
    const dispose = tensor.dispose.bind(tensor)
    tensor.dispose = () => {
      if (!this.#deviceOf.delete(tensor) && !lost.has(device)) this.disposedAgain++
      dispose()
    }
    return tensor
  }
}

/** Devices that the test took away. */
const lost = new WeakSet<Device>()

/** One generation in which `onRun` is called before each run of a network, with its number from 0 on. What it throws is the run's failure. */
async function generate(onRun: (index: number) => void, signal?: AbortSignal) {
  const tensors = new Tensors()
  let runs = 0
  const { run } = ComponentHost.prototype
  vi.spyOn(ComponentHost.prototype, 'run').mockImplementation(async function (this: ComponentHost, ...call) {
    const { device } = this
    const [, inputs] = call
    const foreign = Object.keys(inputs).filter((name) => {
      const tensor = inputs[name]
      return tensor !== undefined && 'read' in tensor && !device.holds(tensor)
    })
    if (foreign.length > 0) throw new TypeError(`These inputs went with a lost device: ${foreign.join(', ')}.`)
    try {
      onRun(runs++)
    } catch (error) {
      if (isAquatintError(error, 'device-lost')) lost.add(device)
      throw error
    }
    const outputs = await run.apply(this, call)
    for (const tensor of Object.values(outputs)) tensors.track(tensor, device)
    return outputs
  })
  const steps: number[] = []
  const pipeline = await loadPipeline(repository, { device: 'wasm' })
  try {
    const result = await pipeline
      .generate('a cat', { ...options, signal, onStep: ({ step }) => steps.push(step) })
      .catch((error: unknown) => ({ error, images: undefined, warnings: [] }))
    const { live, disposedAgain } = tensors
    return { ...result, steps, runs, live, disposedAgain }
  } finally {
    vi.restoreAllMocks()
    await pipeline.dispose()
  }
}

afterEach(() => vi.restoreAllMocks())

const whole = await generate(() => {})
const eachRun = Array.from({ length: whole.runs }, (_, index) => index)
/** What all generations leave. */
const clean = { live: 0, disposedAgain: 0 }
const complete = { ...clean, images: whole.images, steps: [0, 1] }

function fail(code: 'device-lost' | 'out-of-memory'): never {
  throw new DeviceError(code, 'The test ends this run.')
}

test('without a failure', () => {
  expect(whole).toMatchObject({ ...clean, warnings: [], steps: [0, 1], runs: 7 })
})

describe.each(['device-lost', 'out-of-memory'] as const)('%s', (code) => {
  test.each(eachRun)('in run %i', async (failing) => {
    const found = await generate((index) => {
      if (index === failing) fail(code)
    })
    expect(found).toMatchObject(complete)
    expect(found.warnings).toHaveLength(1)
  })
})

test.each(eachRun)('a cancel in run %i', async (failing) => {
  const controller = new AbortController()
  const found = await generate((index) => {
    if (index === failing) controller.abort()
  }, controller.signal)
  expect(found).toMatchObject({ ...clean, images: undefined, error: { name: 'AbortError' } })
})

test.each(eachRun)('another error in run %i', async (failing) => {
  const error = new TypeError('The test ends this run.')
  const found = await generate((index) => {
    if (index === failing) throw error
  })
  expect(found).toMatchObject({ ...clean, images: undefined, error })
})

test('a lost device in the last step, and too little memory in the attempt that follows', async () => {
  const found = await generate((index) => {
    if (index === 4) fail('device-lost')
    if (index === 8) fail('out-of-memory')
  })
  expect(found).toMatchObject(complete)
  expect(found.warnings).toHaveLength(2)
})
