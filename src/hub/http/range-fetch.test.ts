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

it.each([
  ['gzip', undefined],
  ['aws-chunked, br', undefined],
  ['aws-chunked', 3],
  ['utf-8', 3],
])('takes the Content-Length of an answer with the encoding %s as %s bytes of the file', async (encoding, total) => {
  const headers = { 'content-encoding': encoding, 'content-length': '3' }
  let stated: number | undefined
  await fetchRange({
    transport: createTransport(defaultSettings, () => Promise.resolve(new Response('abc', { headers }))),
    url: 'https://h.test/w',
    headers: {},
    range: undefined,
    size: undefined,
    requested: { repository: 'r', path: 'w' },
    stallMs: 60_000,
    signal: new AbortController().signal,
    accept: (answer) => {
      stated = answer.total
      return () => undefined
    },
  })
  expect(stated).toBe(total)
})
