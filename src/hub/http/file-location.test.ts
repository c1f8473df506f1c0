import { expect, it } from 'vitest'
import { FileLocation } from './file-location.js'

const never = new AbortController().signal
const origin = 'https://hub.org/a/resolve/x'
const headers = { authorization: 'Bearer t' }

it('one caller resolves the address while the others wait for its answer', async () => {
  const location = new FileLocation(origin, headers)
  const first = await location.requestTarget(never)
  expect(first).toMatchObject({ url: origin, headers, redirected: false })
  const others = Promise.all([location.requestTarget(never), location.requestTarget(never)])
  first.settle('https://cdn.org/x?sig')
  for (const lease of await others) expect(lease).toMatchObject({ url: 'https://cdn.org/x?sig', headers: {}, redirected: true })
})

it('the next caller tries when the first one failed', async () => {
  const location = new FileLocation(origin, headers)
  const first = await location.requestTarget(never)
  const second = location.requestTarget(never)
  first.settle()
  expect((await second).url).toBe(origin)
  expect(location.hasDelivered).toBe(false)
})

it('an expired address is resolved again, once', async () => {
  const location = new FileLocation(origin, headers)
  ;(await location.requestTarget(never)).settle('https://cdn.org/1')
  location.expire('https://cdn.org/1')
  const again = await location.requestTarget(never)
  expect(again.url).toBe(origin)
  again.settle('https://cdn.org/2')
  location.expire('https://cdn.org/1')
  expect((await location.requestTarget(never)).url).toBe('https://cdn.org/2')
})

it('the access token goes to its own origin only', async () => {
  const location = new FileLocation(origin, headers)
  ;(await location.requestTarget(never)).settle('https://hub.org/api/resolve-cache/x')
  expect((await location.requestTarget(never)).headers).toEqual(headers)
})
