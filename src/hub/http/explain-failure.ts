/**
 * Finds out why a request failed. A browser gives no cause for a failed `fetch`: the server may be unknown or allow no other origins, or the
 * page's policy or the browser may have blocked the request. This file checks the page's own state, then requests the same URL
 * again: first with `no-cors`, which needs no permission, then without a range.
 */

import { HubError, type ErrorDetail } from '../../errors.js'
import { nameOf, type Requested } from './http-errors.js'
import { stripQuery } from '../names.js'

/** `fetch` as this project calls it: a URL and its options. */
export type Fetch = (url: string, init: RequestInit) => Promise<Response>

/** A request that had no answer. */
export interface FailedRequest {
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  readonly requested: Requested
  /** The error that `fetch` threw. */
  readonly error: unknown
  readonly signal: AbortSignal
}

/** What is known about the page or program that sends requests. */
export interface Surroundings {
  /** The page's origin, `'null'` for an opaque one; undefined outside browsers. */
  readonly origin: string | undefined
  /** Whether the browser is connected, as far as it knows. */
  readonly isOnline: () => boolean
  /** Calls `listener` with the address of each request that the page's Content-Security-Policy blocks. */
  readonly onBlocked: (listener: (url: string) => void) => void
}

/** The most milliseconds that asking a host again may take. */
const askingMs = 5000

/** The codes of Node's network errors, each with the `details.reason` and the words for the message. */
const nodeReasons: readonly (readonly [RegExp, 'no-such-host' | 'certificate' | 'unreachable', string])[] = [
  [/^ENOTFOUND$/, 'no-such-host', 'there is no such host. Check the address'],
  [/^EAI_AGAIN$/, 'unreachable', 'its name cannot be looked up. Check the connection'],
  [/^(?:CERT_|ERR_TLS|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO)/, 'certificate', 'its certificate is not valid'],
  [/^ECONNREFUSED$/, 'unreachable', 'nothing answers at this address. Check the address, and that the server runs'],
  [/^(?:ECONNRESET|UND_ERR_SOCKET|EPIPE)$/, 'unreachable', 'it ended the connection'],
]

/** Explains the failures of one transport. */
export class FailureExplainer {
  readonly #fetch: Fetch
  readonly #surroundings: Surroundings
  /** Hosts that sent an answer which could be read, so CORS is not the cause of a failure there. */
  readonly #answered = new Set<string>()
  /** Addresses that the page's policy blocked. */
  readonly #blocked = new Set<string>()

  constructor(fetch: Fetch, surroundings: Surroundings = browserSurroundings()) {
    this.#fetch = fetch
    this.#surroundings = surroundings
    surroundings.onBlocked((url) => this.#blocked.add(url))
  }

  /** Reports that an answer could be read. @param answeredAt the address after redirects; '' if it is not known */
  answered(url: string, answeredAt: string): void {
    this.#answered.add(new URL(url).host)
    if (answeredAt !== '') this.#answered.add(new URL(answeredAt).host)
  }

  /**
   * The error for a request that failed: `network`, `cors`, `blocked-by-page`. `details.reason` of `network` says more where that is known:
   * `offline`, `unreachable`, `no-such-host`, `certificate`, `range`.
   */
  async explain(failed: FailedRequest): Promise<HubError> {
    const { origin } = this.#surroundings
    return origin === undefined ? this.#explainInNode(failed) : this.#explainInBrowser(failed, origin)
  }

  #explainInNode(failed: FailedRequest): HubError {
    const cause = failed.error instanceof Error ? failed.error.cause : undefined
    const code = typeof cause === 'object' && cause !== null && 'code' in cause ? String(cause.code) : ''
    const known = nodeReasons.find(([pattern]) => pattern.test(code))
    if (known === undefined) return connectionFailed(failed)
    const [, reason, words] = known
    const { host } = new URL(failed.url)
    const message = `${nameOf(failed.requested)}: the connection to ${host} failed: ${words} (${code}).`
    // A host that has answered before is reachable in general, so retries are worthwhile.
    const details = reason === 'unreachable' && this.#answered.has(host) ? {} : { reason }
    return new HubError('network', message, { ...detailsOf(failed), ...details }, failed.error)
  }

  async #explainInBrowser(failed: FailedRequest, pageOrigin: string): Promise<HubError> {
    const { requested, error } = failed
    const url = new URL(failed.url)
    const name = nameOf(requested)
    const details = detailsOf(failed)
    // The browser reports a blocked request in an event, after `fetch` has failed.
    await new Promise((resolve) => setTimeout(resolve, 0))
    if (
      [...this.#blocked].some((blocked) => blocked === url.href || blocked === url.origin || blocked.startsWith(`${url.origin}/`))
    )
      return new HubError(
        'blocked-by-page',
        `${name}: the Content-Security-Policy of the page does not allow connections to ${url.origin}, or to the host that it redirects to. Add the host to its connect-src.`,
        details,
        error,
      )
    if (pageOrigin.startsWith('https:') && url.protocol === 'http:' && !isLocal(url.hostname))
      return new HubError(
        'blocked-by-page',
        `${name}: the page was loaded over https, so the browser blocks requests to ${url.origin}, which has no https. Serve the files over https.`,
        details,
        error,
      )
    if (!this.#surroundings.isOnline()) {
      const reason = this.#answered.has(url.host) ? {} : { reason: 'offline' }
      return new HubError('network', `${name}: the browser is offline.`, { ...details, ...reason }, error)
    }
    if (this.#answered.has(url.host)) return connectionFailed(failed)
    return this.#askHost(failed, url, pageOrigin)
  }

  /** Distinguishes a host that cannot be reached from one whose answers the page may not read. */
  async #askHost(failed: FailedRequest, url: URL, pageOrigin: string): Promise<HubError> {
    const { requested, headers, error, signal } = failed
    const name = nameOf(requested)
    const plain = {
      cache: 'no-store',
      credentials: 'omit',
      signal: AbortSignal.any([signal, AbortSignal.timeout(askingMs)]),
    } as const
    const succeeds = async (init: RequestInit) => {
      try {
        const answer = await this.#fetch(url.href, { ...plain, ...init })
        void answer.body?.cancel().catch(() => {})
        return true
      } catch {
        return false
      }
    }
    // A page may send this request to any host. It learns only whether there was an answer.
    if (!(await succeeds({ method: 'HEAD', mode: 'no-cors' }))) {
      const local = isLocal(url.hostname) && !isLocal(new URL(pageOrigin === 'null' ? 'https://x.invalid' : pageOrigin).hostname)
      const more = local ? ', and that the browser lets this page use the local network' : ''
      return new HubError(
        'network',
        `${name}: ${url.host} cannot be reached. Check the address and your connection, and that no extension of the browser blocks the request${more}.`,
        { ...detailsOf(failed), reason: 'unreachable' },
        error,
      )
    }
    if (await succeeds({ headers })) return connectionFailed(failed, 'range')
    const allow = pageOrigin === 'null' ? '*' : pageOrigin
    return new HubError(
      'cors',
      `${name}: the server ${url.host} answers, but does not allow other origins to read its files. It must send the header "Access-Control-Allow-Origin: ${allow}" (or *) with every answer.`,
      detailsOf(failed),
      error,
    )
  }
}

/** What is known about this page or worker; outside browsers, about this program. */
function browserSurroundings(): Surroundings {
  const { navigator, origin, WorkerGlobalScope, document } = globalThis as Partial<{
    navigator: { onLine?: boolean }
    origin: string
    WorkerGlobalScope: unknown
    document: unknown
  }>
  const isBrowser = WorkerGlobalScope !== undefined || document !== undefined
  return {
    origin: isBrowser ? origin : undefined,
    isOnline: () => navigator?.onLine !== false,
    onBlocked: (listener) => {
      if (!isBrowser) return
      addEventListener('securitypolicyviolation', (event) => {
        const { effectiveDirective, blockedURI } = event as Event & { effectiveDirective?: string; blockedURI?: string }
        if (effectiveDirective === 'connect-src' && blockedURI !== undefined) listener(blockedURI)
      })
    },
  }
}

/** The error for a connection that failed for a cause that is unknown, or that `reason` names. */
function connectionFailed(failed: FailedRequest, reason?: string): HubError {
  const { host } = new URL(failed.url)
  const message = `${nameOf(failed.requested)}: the connection to ${host} failed, or to a host that it redirects to.`
  return new HubError('network', message, { ...detailsOf(failed), ...(reason === undefined ? {} : { reason }) }, failed.error)
}

function detailsOf({ url, requested }: FailedRequest): Readonly<Record<string, ErrorDetail>> {
  return { path: requested.path ?? '', url: stripQuery(url) }
}

/** Whether a host is this machine, which browsers trust without https. */
function isLocal(host: string): boolean {
  return /^(?:localhost|.*\.localhost|127(?:\.\d{1,3}){3}|\[::1\])$/.test(host)
}
