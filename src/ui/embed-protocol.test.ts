import { expect, test } from 'vitest'
import { allowedOrigin, parseRequest } from './embed-protocol.js'

test.each([
  ['', undefined],
  ['?origin=', undefined],
  ['?origin=null', undefined],
  ['?origin=*', undefined],
  ['?origin=data:text/html,x', undefined],
  ['?origin=https://shop.example', 'https://shop.example'],
  ['?origin=https://shop.example:8443/path?x', 'https://shop.example:8443'],
])('the frame’s address %j allows %j', (query, origin) => {
  expect(allowedOrigin(new URL(`https://aquatint.example/embed.html${query}`))).toBe(origin)
})

test('requests are accepted only in their exact shape', () => {
  expect(parseRequest({ aquatint: 1, type: 'cancel' })).toEqual({ type: 'cancel' })
  expect(parseRequest({ aquatint: 1, type: 'set', settings: { prompt: 'a', seed: 3 } })).toEqual({
    type: 'set',
    settings: { prompt: 'a', seed: 3 },
  })
  expect(parseRequest({ aquatint: 1, type: 'generate', id: 'x', settings: { prompt: 'a' } })).toEqual({
    type: 'generate',
    id: 'x',
    settings: { prompt: 'a' },
  })
})

test.each([
  null,
  'generate',
  {},
  { type: 'cancel' },
  { aquatint: 2, type: 'cancel' },
  { aquatint: 1, type: 'eval', code: 'x' },
  { aquatint: 1, type: 'generate', settings: {} },
  { aquatint: 1, type: 'generate', id: 7 },
  { aquatint: 1, type: 'generate', id: 'x'.repeat(201) },
])('%j is no request', (data) => expect(parseRequest(data)).toBeUndefined())

test('settings of a wrong type or range are left out', () => {
  const settings = { prompt: { html: '<b>' }, seed: -1, width: 13, scheduler: 'constructor', negativePrompt: 'ok' }
  expect(parseRequest({ aquatint: 1, type: 'set', settings })).toEqual({ type: 'set', settings: { negativePrompt: 'ok' } })
})
