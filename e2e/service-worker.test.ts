/**
 * Runs the service worker in Node, with a cache and a network of the test's own: the order in which it works, and what a failed request
 * leaves behind.
 */

import { readFileSync } from 'node:fs'
import { createContext, runInContext } from 'node:vm'
import { expect, test } from 'vitest'

const script = readFileSync(new URL('../public/service-worker.js', import.meta.url), 'utf8')
const scope = 'https://site.example/app/'
const page = (build: string) => `<script src="./assets/index-${build}.js"></script><link href="./assets/style-${build}.css">`

/** Runs the service worker. `network` maps URLs to contents; a request for any other URL fails. */
function start(network: Map<string, string>) {
  const cached = new Map<string, string>()
  const fetched = (url: string): Response => {
    const body = network.get(url)
    if (body === undefined) throw new TypeError(`No network for ${url}`)
    return new Response(body)
  }
  const cache = {
    match: (url: string) => Promise.resolve(cached.has(url) ? new Response(cached.get(url)) : undefined),
    keys: () => Promise.resolve([...cached.keys()].map((url) => ({ url }))),
    delete: (request: string | { readonly url: string }) =>
      Promise.resolve(cached.delete(typeof request === 'string' ? request : request.url)),
    put: async (url: string, response: Response) => void cached.set(url, await response.text()),
  }
  const handlers = new Map<string, (event: { waitUntil: (work: Promise<unknown>) => void }) => void>()
  const self = {
    registration: { scope },
    addEventListener: (name: string, handler: (event: { waitUntil: (work: Promise<unknown>) => void }) => void) =>
      handlers.set(name, handler),
    skipWaiting: () => Promise.resolve(),
  }
  const caches = { open: () => Promise.resolve(cache), keys: () => Promise.resolve([]) }
  const fetch = (url: string) => Promise.resolve().then(() => fetched(url))
  runInContext(script, createContext({ self, caches, fetch, URL, Response, Headers, Set, Promise }))
  const install = async () => {
    const work: Promise<unknown>[] = []
    handlers.get('install')?.({ waitUntil: (promise) => void work.push(promise) })
    await Promise.all(work)
  }
  return { cached, install }
}

/** The files of a deployed build, as URLs and contents. */
const deployed = (build: string): [string, string][] => [
  [scope, page(build)],
  [`${scope}assets/index-${build}.js`, `script ${build}`],
  [`${scope}assets/style-${build}.css`, `style ${build}`],
]

test('a new page is stored with its assets, and the old assets are deleted', async () => {
  const network = new Map(deployed('a'))
  const { cached, install } = start(network)
  await install()
  expect(new Map(cached)).toEqual(new Map(deployed('a')))
  for (const [url, body] of deployed('b')) network.set(url, body)
  await install()
  expect(new Map(cached)).toEqual(new Map(deployed('b')))
})

test('when an asset of the new page cannot be fetched, the old page still opens with all of its own', async () => {
  const network = new Map(deployed('a'))
  const { cached, install } = start(network)
  await install()
  for (const [url, body] of deployed('b').slice(0, 2)) network.set(url, body)
  await expect(install()).rejects.toThrow('style-b.css')
  for (const [url, body] of deployed('a')) expect(cached.get(url)).toBe(body)
  network.set(...deployed('b')[2]!)
  await install()
  expect(new Map(cached)).toEqual(new Map(deployed('b')))
})
