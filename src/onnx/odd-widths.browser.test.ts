/**
 * Compares every operator of the graph writer on the GPU with the CPU, at widths that the kernels' vectors and tiles do not divide: a kernel
 * that is wrong at one width gives wrong images without an error. Where the GPU has float16, it is compared in float16 too.
 */
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Device } from '../runtime/device.js'
import { openDevice } from '../runtime/open-device.js'
import { shareGpuDevices } from '../runtime/webgpu/testing-shared-gpu.js'
import * as math from './ops-math.js'
import * as network from './ops-network.js'
import * as shape from './ops-shape.js'
import { operatorCases } from './testing-operator-cases.js'
import { compute, relativeError } from './testing-operators.js'

shareGpuDevices()

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

test('each function that adds operators has cases', () => {
  const functions = Object.keys({ ...math, ...network, ...shape }).filter((name) => name !== 'dimension')
  expect(Object.keys(operatorCases).toSorted()).toEqual(functions.toSorted())
})

/**
 * The largest error of one result, relative to its size. float32: the sums have up to 2,889 terms, and terms that nearly cancel can leave a
 * result that is a hundred times smaller than they are. float16: half a unit in the last place is 2^-11 of a value.
 */
const tolerance = { float32: 5e-5, float16: 0.2 }

for (const [name, operator] of Object.entries(operatorCases))
  test(name, async () => {
    const expected = await compute(cpu, operator)
    for (const type of gpu.info.shaderF16 ? (['float32', 'float16'] as const) : (['float32'] as const)) {
      const actual = await compute(gpu, operator, type)
      const wrong = Object.entries(expected)
        .map(([use, values]) => ({ use, error: relativeError(actual[use], values) }))
        .filter(({ error }) => error > tolerance[type])
      expect(wrong, type).toEqual([])
    }
  })
