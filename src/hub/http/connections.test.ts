import { afterEach, describe, expect, it, vi } from 'vitest'
import { ConnectionPool, type ConnectionSlot } from './connections.js'
import { defaultSettings } from '../settings.js'

afterEach(() => {
  vi.useRealTimers()
})

const never = () => new AbortController().signal

/** Simulates a host with its own clock: each open connection delivers `rate(open)` bytes per millisecond, for `steps` times 10 ms. */
async function run(
  pool: ConnectionPool,
  clock: { now: number },
  rate: (open: number) => number,
  steps: number,
  connections = 6,
): Promise<number[]> {
  const open: ConnectionSlot[] = []
  const limits: number[] = []
  const ask = async () => {
    open.push(await pool.acquire(never()))
  }
  const requested: Promise<void>[] = []
  for (let k = 0; k < 20; k++) requested.push(ask())
  for (let step = 0; step < steps; step++) {
    await Promise.resolve()
    clock.now += 10
    const count = open.length
    for (const slot of open.slice(0, connections)) {
      slot.answered()
      slot.count(rate(Math.min(count, connections)) * 10)
    }
    // A request ends once in a while, and another one takes its connection.
    if (step % 5 === 0 && open.length > 0) {
      open.shift()?.release()
      requested.push(ask())
    }
    limits.push(pool.limit)
  }
  expect(requested.length).toBeGreaterThan(open.length)
  return limits
}

describe('connections to one host', () => {
  it('start with two, and grow to the limit when each one adds as many bytes', async () => {
    const clock = { now: 0 }
    const limits = await run(new ConnectionPool(defaultSettings, () => clock.now), clock, () => 5000, 400)
    expect(limits[0]).toBe(2)
    expect(limits.at(-1)).toBe(6)
    // One more connection is tried once, to see whether it is answered.
    expect(Math.max(...limits)).toBe(7)
    expect(limits.filter((limit) => limit === 7).length).toBeLessThan(100)
  })

  it('grow further when one connection carries all requests', async () => {
    const clock = { now: 0 }
    const limits = await run(new ConnectionPool(defaultSettings, () => clock.now), clock, () => 5000, 600, Infinity)
    expect(limits.at(-1)).toBe(12)
  })

  it('stay few when more of them bring no more bytes', async () => {
    const clock = { now: 0 }
    const limits = await run(new ConnectionPool(defaultSettings, () => clock.now), clock, (open) => 10_000 / open, 450)
    expect(limits.filter((limit) => limit === 2).length).toBeGreaterThan(limits.length / 2)
    expect(Math.max(...limits)).toBe(4)
  })

  it('are not reduced because of one pause of a busy machine', async () => {
    const clock = { now: 0 }
    // While four connections are measured for the first time, their bytes arrive slowly for 400 ms, and then faster for 400 ms.
    const lumps = () => (clock.now < 1200 ? 5000 : clock.now < 1600 ? 2000 : clock.now < 2000 ? 8000 : 5000)
    const limits = await run(new ConnectionPool(defaultSettings, () => clock.now), clock, lumps, 400)
    expect(limits.slice(110).every((limit) => limit > 2)).toBe(true)
    expect(limits.at(-1)).toBe(6)
  })

  it('do not grow while some of them are unused', async () => {
    const clock = { now: 0 }
    const pool = new ConnectionPool(defaultSettings, () => clock.now)
    const slot = await pool.acquire(never())
    for (let k = 0; k < 300; k++) {
      clock.now += 10
      slot.count(1000)
    }
    expect(pool.limit).toBe(2)
  })

  it('are halved once for one overload, and send nothing for as long as the host requests', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout'] })
    const clock = { now: 0 }
    const pool = new ConnectionPool({ ...defaultSettings, startConnections: 6 }, () => clock.now)
    const [first, second] = await Promise.all([pool.acquire(never()), pool.acquire(never())])
    pool.backOff(30)
    pool.backOff(30)
    first?.release()
    second?.release()
    expect(pool.limit).toBe(3)
    let granted = false
    const wait = async () => {
      const slot = await pool.acquire(never())
      granted = true
      return slot
    }
    const next = wait()
    await vi.advanceTimersByTimeAsync(29)
    expect(granted).toBe(false)
    clock.now += 31
    await vi.advanceTimersByTimeAsync(3)
    expect(granted).toBe(true)
    ;(await next).release()
  })

  it('are given in order, and an aborted caller leaves the queue', async () => {
    const pool = new ConnectionPool({ ...defaultSettings, startConnections: 1 }, () => 0)
    const order: number[] = []
    const first = await pool.acquire(never())
    const stop = new AbortController()
    const aborted = pool.acquire(stop.signal)
    const waits = [1, 2].map(async (k) => {
      const slot = await pool.acquire(never())
      order.push(k)
      slot.release()
    })
    stop.abort()
    await expect(aborted).rejects.toThrow()
    first.release()
    first.release()
    await Promise.all(waits)
    expect(order).toEqual([1, 2])
  })
})
