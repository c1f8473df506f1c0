/** `Device.assemble` on a device of each kind: joins, pads, repeats and cuts tensors. */
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { openDevice } from '../open-device.js'
import { numbers } from '../testing.js'
import type { DeviceTensor, HostTensor, Piece } from '../types.js'
import type { Device } from '../device.js'

let device: Device

function tensor(dims: readonly number[], ...values: readonly number[]): DeviceTensor {
  return device.upload({ type: 'float32', dims, data: Float32Array.from(values) }, 'test')
}

async function joined(pieces: readonly Piece[], dims: readonly number[]): Promise<number[]> {
  const result = device.assemble(pieces, dims, 'test')
  expect(result).toMatchObject({ type: 'float32', dims })
  const values = [...(await result.read())]
  result.dispose()
  return values
}

describe.each(['webgpu', 'wasm'] as const)('on %s', (kind) => {
  beforeEach(async () => {
    device = await openDevice({ kind })
  })
  afterEach(async () => {
    vi.restoreAllMocks()
    await device.dispose()
  })

  test('pieces are put side by side, one below the other and repeated; the rest is zeros', async () => {
    const a = tensor([1, 2, 2], 1, 2, 3, 4)
    const b = tensor([1, 2, 1], 5, 6)
    const c = tensor([1, 1, 4], 7, 8, 9, 10)
    const prompt = (row: number) => [
      { tensor: a, at: [row, 0, 0] },
      { tensor: b, at: [row, 0, 2] },
      { tensor: c, at: [row, 2, 0] },
    ]
    const one = [1, 2, 5, 0, 3, 4, 6, 0, 7, 8, 9, 10]
    // The next buffer of this size has old contents.
    device.upload({ type: 'float32', dims: [36], data: new Float32Array(36).fill(9) }, 'test').dispose()
    expect(await joined([...prompt(1), ...prompt(2)], [3, 3, 4])).toEqual([...Array<number>(12).fill(0), ...one, ...one])
    expect(await joined([], [2])).toEqual([0, 0])
  })

  test('a box is cut out of a tensor on the device or on the host, and a later piece overwrites an earlier one', async () => {
    const data = numbers(2 * 3 * 4 * 5, 1)
    const whole: HostTensor = { type: 'float32', dims: [2, 3, 4, 5], data }
    const box = { from: [1, 0, 1, 2], size: [1, 3, 2, 3] }
    const expected = [0, 1, 2].flatMap((channel) =>
      [1, 2].flatMap((row) => [2, 3, 4].map((column) => data[((3 + channel) * 4 + row) * 5 + column]!)),
    )
    const onDevice = device.upload(whole, 'test')
    const at = [0, 0, 0, 0]
    for (const source of [whole, onDevice]) expect(await joined([{ tensor: source, at, ...box }], [1, 3, 2, 3])).toEqual(expected)
    const top = tensor([1, 1, 1, 2], 8, 9)
    const over = { tensor: top, at: [0, 1, 1, 1] }
    expect(await joined([{ tensor: onDevice, at, ...box }, over], [1, 3, 2, 3])).toEqual(expected.with(10, 8).with(11, 9))
    // A box that is complete except in its first axis is one copy.
    if (kind === 'webgpu') {
      const copies = vi.spyOn(GPUCommandEncoder.prototype, 'copyBufferToBuffer')
      device.assemble([{ tensor: onDevice, at, from: [1, 1, 0, 0] }], [1, 2, 4, 5], 'test').dispose()
      expect(copies.mock.calls.map((call) => call.slice(1))).toEqual([[4 * 80, expect.anything(), 0, 4 * 40]])
    }
  })

  test('pieces that do not fit or are on another device are refused before a buffer is made', async () => {
    const a = tensor([2, 2], 1, 2, 3, 4)
    const half = device.upload({ type: 'float16', dims: [2, 2], data: new Uint16Array(4) }, 'test')
    const { live } = device.memory.snapshot()
    const wrong: Piece[] = [
      { tensor: a, at: [0, 1] },
      { tensor: a, at: [1, 0] },
      { tensor: a, at: [-1, 0] },
      { tensor: a, at: [0.5, 0] },
      { tensor: a, at: [0] },
      { tensor: a, at: [0, 0], from: [0, 2] },
      { tensor: a, at: [0, 0], from: [1, 0], size: [2, 2] },
      { tensor: a, at: [0, 0], size: [0, 2] },
      { tensor: half, at: [0, 0] },
    ]
    const refused = expect.objectContaining({ code: 'bad-pieces' })
    for (const piece of wrong) expect(() => device.assemble([piece], [2, 2], 'test')).toThrow(refused)
    const other = await openDevice({ kind: kind === 'webgpu' ? 'wasm' : 'webgpu' })
    expect([device.holds(a), other.holds(a)]).toEqual([true, false])
    expect(() => other.assemble([{ tensor: a, at: [0, 0] }], [2, 2], 'test')).toThrow(/another device/)
    await other.dispose()
    expect(device.memory.snapshot().live).toBe(live)
  })
})
