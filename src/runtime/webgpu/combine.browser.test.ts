import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { openDevice } from '../open-device.js'
import { numbers, worstError } from '../testing.js'
import type { Device } from '../device.js'

let device: Device

function upload(count: number, seed: number) {
  return device.upload({ type: 'float32', dims: [count], data: numbers(count, seed) }, 'test')
}

describe.each(['webgpu', 'wasm'] as const)('on %s', (kind) => {
  beforeEach(async () => {
    device = await openDevice({ kind })
  })
  afterEach(async () => device.dispose())

  test('guidance: both halves of a prediction and the step, in one sum each', async () => {
    const half = 100_003
    const prediction = upload(2 * half, 1)
    const latents = upload(half, 2)
    const scale = 7.5
    const guided = device.combine(
      [
        { tensor: prediction, scale: 1 - scale },
        { tensor: prediction, scale, offset: half },
      ],
      [1, half],
      'test',
    )
    const next = device.combine(
      [
        { tensor: latents, scale: 1 },
        { tensor: guided, scale: -0.25 },
      ],
      [1, half],
      'test',
    )
    expect(next.dims).toEqual([1, half])
    const [p, l] = [await prediction.read(), await latents.read()]
    const expected = Float64Array.from(l, (value, i) => value - 0.25 * (p[i]! * (1 - scale) + p[half + i]! * scale))
    // The bound: values of at most about 3, each rounded four times to 24 bits.
    expect(worstError(await next.read(), expected)).toBeLessThan(4 * 3 * 2 ** -24)
  })

  test('latents are doubled for guidance', async () => {
    const latents = upload(12, 4)
    const both = device.combine([{ tensor: latents, scale: 1 }], [2, 12], 'test')
    const values = await latents.read()
    expect(await both.read()).toEqual(Float32Array.from([...values, ...values]))
  })

  test('a tensor with more values than a row of the grid is summed as a whole', async () => {
    const count = 65_535 * 64 + 1000
    const sum = device.combine([{ tensor: upload(16, 3), scale: 2 }], [count], 'test')
    const values = await sum.read()
    const source = numbers(16, 3)
    expect([values[0], values[count - 1]]).toEqual([2 * source[0]!, 2 * source[(count - 1) % 16]!])
    expect(values.findIndex((value, i) => value !== 2 * source[i % 16]!)).toBe(-1)
  })

  test('a bound clamps the sum', async () => {
    const tensor = device.upload({ type: 'float32', dims: [5], data: Float32Array.of(-9, -1, 0, 0.25, 7) }, 'test')
    const bounded = device.combine([{ tensor, scale: 2 }], [5], 'test', 1.5)
    expect([...(await bounded.read())]).toEqual([-1.5, -1.5, 0, 0.5, 1.5])
    expect(() => device.combine([{ tensor, scale: 1 }], [5], 'test', Infinity)).toThrow(/bound/)
  })

  test('broken values are counted in the values that the tensor has when the GPU runs the count', async () => {
    const count = 10_007
    const data = numbers(count, 1).map((value) => (value === 0 ? 1 : value))
    data.set([Number.NaN, Infinity, -Infinity, 0, -0, 2 ** -149])
    data[count - 1] = Number.NaN
    const tensor = device.upload({ type: 'float32', dims: [count], data }, 'test')
    const counted = device.tally(tensor, 'test')
    tensor.dispose()
    // The same buffer gets another tensor after the count was submitted.
    device.upload({ type: 'float32', dims: [count], data: new Float32Array(count) }, 'test')
    expect(await counted).toEqual({ count, bad: 4, zeros: 2 })
    const zeros = device.upload({ type: 'float32', dims: [3], data: new Float32Array(3) }, 'test')
    expect(await device.tally(zeros, 'test')).toEqual({ count: 3, bad: 0, zeros: 3 })
    const half = device.upload({ type: 'float16', dims: [4], data: new Uint16Array(4) }, 'test')
    await expect(device.tally(half, 'test')).rejects.toMatchObject({ code: 'bad-terms' })
  })

  test('terms that cannot be summed are refused', async () => {
    const tensor = upload(4, 1)
    const code = { code: 'bad-terms' }
    expect(() => device.combine([], [4], 'test')).toThrow(expect.objectContaining(code))
    expect(() =>
      device.combine(
        Array.from({ length: 8 }, () => ({ tensor, scale: 1 })),
        [4],
        'test',
      ),
    ).toThrow(expect.objectContaining(code))
    expect(() => device.combine([{ tensor, scale: Number.NaN }], [4], 'test')).toThrow(expect.objectContaining(code))
    expect(() => device.combine([{ tensor, scale: 1, offset: 4 }], [4], 'test')).toThrow(expect.objectContaining(code))
    const other = await openDevice({ kind })
    if (kind === 'webgpu') expect(() => other.combine([{ tensor, scale: 1 }], [4], 'test')).toThrow(/another device/)
    await other.dispose()
  })
})
