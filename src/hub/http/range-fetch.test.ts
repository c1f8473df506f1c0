import { expect, it } from 'vitest'
import { defaultSettings } from '../settings.js'
import { fetchRange } from './range-fetch.js'
import { createTransport } from './transport.js'

it('ends when the sink aborts, although the body never ends', async () => {
  const stop = new AbortController()
  const body = new ReadableStream({ start: (controller) => controller.enqueue(new Uint8Array(1)) })
  const headers = { 'content-range': 'bytes 0-1/2' }
  const request = fetchRange({
    transport: createTransport(defaultSettings, () => Promise.resolve(new Response(body, { status: 206, headers }))),
    url: 'https://h.test/w',
    headers: {},
    range: { begin: 0, end: 2 },
    size: 2,
    requested: { repository: 'r', path: 'w' },
    stallMs: 60_000,
    signal: stop.signal,
    accept: () => () => stop.abort(),
  })
  await expect(request).rejects.toMatchObject({ name: 'AbortError' })
})
