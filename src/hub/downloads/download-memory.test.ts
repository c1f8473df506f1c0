import { describe, expect, it } from 'vitest'
import { DownloadMemory } from './download-memory.js'

const never = () => new AbortController().signal

describe('the memory for downloads', () => {
  it('is never exceeded, and claims are served in order', async () => {
    const memory = new DownloadMemory(100)
    const order: number[] = []
    const claims = [60, 30, 50, 10, 100].map(async (bytes, k) => {
      const release = await memory.claim(bytes, never())
      order.push(k)
      await Promise.resolve()
      release()
    })
    await Promise.all(claims)
    expect(order).toEqual([0, 1, 2, 3, 4])
    expect(memory.peak).toBe(100)
  })

  it('serves a claim above the limit while nothing else is claimed', async () => {
    const memory = new DownloadMemory(10)
    const release = await memory.claim(25, never())
    let second = false
    const claim = async () => {
      const done = await memory.claim(1, never())
      second = true
      done()
    }
    const next = claim()
    await Promise.resolve()
    expect(second).toBe(false)
    release()
    await next
  })

  it('drops an aborted claim, and serves the claims behind it', async () => {
    const memory = new DownloadMemory(10)
    const release = await memory.claim(6, never())
    const stop = new AbortController()
    const large = memory.claim(10, stop.signal)
    const small = memory.claim(4, never())
    stop.abort()
    await expect(large).rejects.toThrow()
    ;(await small)()
    release()
    ;(await memory.claim(10, never()))()
  })
})
