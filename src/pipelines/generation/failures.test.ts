/**
 * Generations on the CPU in which one run of a network fails, whichever it is: the image is that of a generation without a failure, each step is
 * reported once, and every tensor is disposed once.
 */

import { join } from 'node:path'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { DeviceError, isAquatintError } from '../../errors.js'
import type { Device } from '../../runtime/device.js'
import type { DeviceTensor } from '../../runtime/types.js'
import { WasmDevice } from '../../runtime/wasm/wasm-device.js'
import { stableDiffusion } from '../families/stable-diffusion.js'
import { openPipeline } from '../loading/open-pipeline.js'
import { diskRepository, fixtures } from '../testing.node.js'
import type { GenerateOptions } from '../types.js'
import { createPipeline } from './loaded-pipeline.js'

const repository = diskRepository(join(fixtures, 'tiny-sd15', 'repo'))
const size = { width: 32, height: 32 }
const image = { ...size, data: Uint8ClampedArray.from({ length: 32 * 32 * 4 }, (_, i) => (i * 7) % 256) }
/** With these options, each step draws noise. A start image makes the autoencoder's encoder run as well as its decoder. */
const options: GenerateOptions = {
  image,
  strength: 1,
  seed: 3,
  numInferenceSteps: 2,
  numImagesPerPrompt: 2,
  scheduler: { className: 'EulerAncestralDiscreteScheduler' },
}

/**
 * Counts the tensors on CPU devices that nobody has disposed yet, and how often a tensor was disposed again. As on a GPU, a device does not
 * hold the tensors of another one, and a lost device loses its tensors.
 */
class Tensors {
  readonly #deviceOf = new Map<DeviceTensor, Device>()
  disposedAgain = 0

  /** Watches a device that was opened. */
  watch(device: WasmDevice): void {
    const combine = device.combine.bind(device)
    const assemble = device.assemble.bind(device)
    const upload = device.upload.bind(device)
    const dispose = device.dispose.bind(device)
    vi.spyOn(device, 'combine').mockImplementation((...call) => this.track(combine(...call), device))
    vi.spyOn(device, 'assemble').mockImplementation((...call) => this.track(assemble(...call), device))
    vi.spyOn(device, 'upload').mockImplementation((...call) => this.track(upload(...call), device))
    vi.spyOn(device, 'holds').mockImplementation((tensor) => this.#deviceOf.get(tensor) === device)
    vi.spyOn(device, 'dispose').mockImplementation(async () => {
      if (lost.has(device)) for (const [tensor, own] of this.#deviceOf) if (own === device) this.#deviceOf.delete(tensor)
      await dispose()
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

/** Devices that the test treats as lost. */
const lost = new WeakSet<Device>()

/** Generates once. Calls `onRun` before each run of a network, with the run's index. If `onRun` throws, the run fails with that error. */
async function generate(onRun: (index: number) => void, signal?: AbortSignal) {
  const tensors = new Tensors()
  let runs = 0
  const open = WasmDevice.open.bind(WasmDevice)
  vi.spyOn(WasmDevice, 'open').mockImplementation(async (total) => {
    const device = await open(total)
    tensors.watch(device)
    return device
  })
  const opened = await openPipeline(repository, { device: 'wasm' }, [stableDiffusion])
  const pipeline = createPipeline(opened)
  const host = opened.hosts.of('unet')
  const run = host.run.bind(host)
  vi.spyOn(host, 'run').mockImplementation(async (...call) => {
    const { device } = host
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
    const outputs = await run(...call)
    for (const tensor of Object.values(outputs)) tensors.track(tensor, device)
    return outputs
  })
  const steps: number[] = []
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
/** The tensors after every generation: none is left, and none was disposed twice. */
const clean = { live: 0, disposedAgain: 0 }
const complete = { ...clean, images: whole.images, steps: [0, 1] }

function fail(code: 'device-lost' | 'out-of-memory'): never {
  throw new DeviceError(code, 'The test ends this run.')
}

test('a generation without a failure gives no warning and leaves nothing', () => {
  expect(whole).toMatchObject({ ...clean, warnings: [], steps: [0, 1], runs: 7 })
})

describe.each(['device-lost', 'out-of-memory'] as const)('%s', (code) => {
  test.each(eachRun)('in run %i is recovered, with the same image', async (failing) => {
    const found = await generate((index) => {
      if (index === failing) fail(code)
    })
    expect(found).toMatchObject(complete)
    expect(found.warnings).toHaveLength(1)
  })
})

test.each(eachRun)('a cancel in run %i ends the generation, and leaves nothing', async (failing) => {
  const controller = new AbortController()
  const found = await generate((index) => {
    if (index === failing) controller.abort()
  }, controller.signal)
  expect(found).toMatchObject({ ...clean, images: undefined, error: { name: 'AbortError' } })
})

test.each(eachRun)('another error in run %i ends the generation with this error, and leaves nothing', async (failing) => {
  const error = new TypeError('The test ends this run.')
  const found = await generate((index) => {
    if (index === failing) throw error
  })
  expect(found).toMatchObject({ ...clean, images: undefined, error })
})

test('a lost device in the last step, and too little memory in the attempt that follows, are recovered', async () => {
  const found = await generate((index) => {
    if (index === 4) fail('device-lost')
    if (index === 8) fail('out-of-memory')
  })
  expect(found).toMatchObject(complete)
  expect(found.warnings).toHaveLength(2)
})
