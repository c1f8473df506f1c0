/**
 * Tests the causes that {@link FailureExplainer} finds for a failed request: in a page, from facts that the test gives it; in Node, from
 * real errors or copies of them.
 */

import { createServer, type Server } from 'node:http'
import { createServer as createTcpServer, type AddressInfo, type Server as TcpServer } from 'node:net'
import { describe, expect, test } from 'vitest'
import { FailureExplainer, type Fetch, type Surroundings } from './explain-failure.js'

const requested = { repository: 'a/b', path: 'c.json' }
const opaque = new TypeError('Failed to fetch')

/** Facts of a page: what the browser knows, and how the host answers when it is asked again. */
interface Facts {
  readonly origin?: string
  readonly online?: boolean
  /** The addresses that the Content-Security-Policy blocked. */
  readonly blocked?: readonly string[]
  /** Whether a request in the mode `no-cors` gets an answer. */
  readonly reachable?: boolean
  /** Whether a CORS request without a Range header gets an answer that the page may read. */
  readonly readable?: boolean
  /** Whether the page could read an earlier answer of the host. */
  readonly answered?: boolean
}

async function explain(url: string, facts: Facts) {
  const asked: (RequestInit & { readonly url: string })[] = []
  const fetch: Fetch = (to, init) => {
    asked.push({ url: to, ...init })
    const answers = init.mode === 'no-cors' ? facts.reachable === true : facts.readable === true
    return answers ? Promise.resolve(new Response('')) : Promise.reject(opaque)
  }
  const surroundings: Surroundings = {
    origin: facts.origin ?? 'https://page.org',
    isOnline: () => facts.online ?? true,
    onBlocked: (listener) => facts.blocked?.forEach((address) => listener(address)),
  }
  const explainer = new FailureExplainer(fetch, surroundings)
  if (facts.answered === true) explainer.answered(url, '')
  const { signal } = new AbortController()
  return { asked, error: await explainer.explain({ url, headers: {}, requested, error: opaque, signal }) }
}

describe('in a page', () => {
  const models = 'https://models.org/a/b/c.json?X-Amz-Signature=secret'
  const page = 'https://page.org'
  test.each<[string, string, Facts, string, string | undefined, string]>([
    ['no CORS', models, { reachable: true }, 'cors', undefined, `"Access-Control-Allow-Origin: ${page}"`],
    ['no CORS, in a page without an origin', models, { origin: 'null', reachable: true }, 'cors', undefined, 'Allow-Origin: *"'],
    ['no CORS for ranges', models, { reachable: true, readable: true }, 'network', 'range', 'models.org failed'],
    ['a host that does not answer', models, {}, 'network', 'unreachable', 'models.org cannot be reached'],
    ['a local host', 'http://127.0.0.1:8000/c.json', {}, 'network', 'unreachable', 'use the local network'],
    [
      'a local host, for a local page',
      'http://localhost/c.json',
      { origin: 'http://localhost:1' },
      'network',
      'unreachable',
      '.',
    ],
    ['no network', models, { online: false }, 'network', 'offline', 'the browser is offline'],
    ['a network that was lost', models, { online: false, answered: true }, 'network', undefined, 'the browser is offline'],
    ['a host that has answered before', models, { answered: true }, 'network', undefined, 'the connection to models.org failed'],
    ['mixed content', 'http://models.org/c.json', {}, 'blocked-by-page', undefined, 'http://models.org, which has no https'],
    ['a policy, by address', models, { blocked: [models] }, 'blocked-by-page', undefined, 'https://models.org'],
    ['a policy, by origin', models, { blocked: ['https://models.org'] }, 'blocked-by-page', undefined, 'connect-src'],
  ])('the error names the cause: %s', async (_, url, facts, code, reason, words) => {
    const { error } = await explain(url, facts)
    expect([error.code, error.details['reason']]).toEqual([code, reason])
    expect(error.message).toMatch(/^a\/b: c\.json: .*\.$/)
    expect(error.message).toContain(words)
    expect(JSON.stringify([error.message, error.details])).not.toContain('secret')
    expect(error.cause).toBe(opaque)
  })

  test('a policy that blocked another address does not explain the failure', async () => {
    const { error } = await explain(models, {
      blocked: ['https://models.org.other.org/c.json', 'https://other.org'],
      reachable: true,
    })
    expect(error.code).toBe('cors')
  })

  test('a local page is not advised about the local network', async () => {
    const { error } = await explain('http://localhost/c.json', { origin: 'http://127.0.0.1:1' })
    expect(error.message).not.toContain('local network')
  })

  test('a local host without https is no mixed content', async () => {
    const { error } = await explain('http://127.0.0.1/c.json', { reachable: true })
    expect(error.code).toBe('cors')
  })

  test('the host is asked once for any answer and once for a readable one, and not at all if the cause is known already', async () => {
    const { asked } = await explain(models, { reachable: true })
    expect(asked.map(({ method, mode, credentials }) => [method, mode, credentials])).toEqual([
      ['HEAD', 'no-cors', 'omit'],
      [undefined, undefined, 'omit'],
    ])
    for (const facts of [{ online: false }, { answered: true }, { blocked: [models] }])
      expect((await explain(models, facts)).asked).toEqual([])
  })
})

async function listen(server: Server | TcpServer): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return `127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** The explanation of a request that `fetch` cannot complete. */
async function failing(url: string) {
  const explainer = new FailureExplainer(fetch)
  const { signal } = new AbortController()
  const error: unknown = await fetch(url).then(
    () => undefined,
    (reason: unknown) => reason,
  )
  expect(error).toBeInstanceOf(TypeError)
  return explainer.explain({ url, headers: {}, requested, error, signal })
}

describe('in Node', () => {
  test('the error says that nothing listens on a port', async () => {
    const server = createServer()
    const host = await listen(server)
    await new Promise((resolve) => server.close(resolve))
    const error = await failing(`http://${host}/c.json`)
    expect(error).toMatchObject({ code: 'network', details: { reason: 'unreachable', path: 'c.json' } })
    expect(error.message).toBe(
      `a/b: c.json: the connection to ${host} failed: nothing answers at this address. Check the address, and that the server runs (ECONNREFUSED).`,
    )
  })

  test('the error says that the server ended the connection', async () => {
    const server = createTcpServer((socket) => socket.destroy())
    const error = await failing(`http://${await listen(server)}/c.json`)
    await new Promise((resolve) => server.close(resolve))
    expect(error).toMatchObject({ code: 'network', details: { reason: 'unreachable' } })
    expect(error.message).toMatch(/it ended the connection \((?:UND_ERR_SOCKET|ECONNRESET)\)\.$/)
  })

  // The result of a DNS look-up depends on the network of the machine, so the test creates the errors that Node throws.
  test.each([
    ['ENOTFOUND', 'no-such-host', 'there is no such host'],
    ['EAI_AGAIN', 'unreachable', 'its name cannot be looked up'],
    ['DEPTH_ZERO_SELF_SIGNED_CERT', 'certificate', 'its certificate is not valid'],
    ['CERT_HAS_EXPIRED', 'certificate', 'its certificate is not valid'],
    ['ERR_TLS_CERT_ALTNAME_INVALID', 'certificate', 'its certificate is not valid'],
    ['EOTHER', undefined, 'the connection to models.org failed, or to a host that it redirects to'],
  ])('the error explains the code %s', async (code, reason, words) => {
    const cause = Object.assign(new Error('getaddrinfo'), { code })
    const failed = { url: 'https://models.org/c.json?a=secret', headers: {}, requested, signal: new AbortController().signal }
    const error = await new FailureExplainer(fetch).explain({ ...failed, error: new TypeError('fetch failed', { cause }) })
    expect([error.code, error.details['reason'], error.details['url']]).toEqual(['network', reason, 'https://models.org/c.json'])
    expect(error.message).toContain(words)
  })
})
