/** JSON from a server that strangers may have filled: bounded, tried again like everything else, and parsed to `unknown`. */

import { HubError } from '../errors.js'
import type { Asked } from './http-errors.js'
import { fileNotFound } from './http-errors.js'
import { retrying, type Network } from './piece-fetch.js'
import { fetchRange } from './range-fetch.js'
import { waitAsked } from './retry-policy.js'

/** Longest listing that is read. The Hub gives 1,000 entries a page, a few hundred bytes each. */
const maxBytes = 32 << 20

export interface JsonAnswer {
  readonly value: unknown
  readonly headers: Headers
}

/** @throws HubError `bad-answer` for what is no JSON or too long, and all that fetchRange throws */
export async function fetchJson(
  network: Network,
  url: string,
  headers: Readonly<Record<string, string>>,
  asked: Asked,
  signal: AbortSignal,
): Promise<JsonAnswer> {
  const answer = await retrying(network, signal, () => fetchOnce(network, url, headers, asked, signal))
  const text = await new Blob(answer.parts).text()
  try {
    return { value: JSON.parse(text) as unknown, headers: answer.headers }
  } catch (error) {
    throw badAnswer(asked, 'no JSON', error)
  }
}

async function fetchOnce(
  network: Network,
  url: string,
  headers: Readonly<Record<string, string>>,
  asked: Asked,
  signal: AbortSignal,
) {
  const lane = await network.lanesOf(new URL(url).host).acquire(signal)
  const parts: Uint8Array<ArrayBuffer>[] = []
  let received = new Headers()
  let count = 0
  let answeredAt = url
  try {
    await fetchRange({
      fetch: network.fetch,
      url,
      headers,
      range: undefined,
      size: undefined,
      asked,
      stallMs: network.settings.stallMs,
      signal,
      onAnswer: (from) => (answeredAt = from),
      accept: (head) => {
        received = head.headers
        // A site that answers every path with its own page has no such file.
        if (isPage(head.headers)) throw fileNotFound(asked, 200)
        return (bytes) => {
          count += bytes.length
          if (count > maxBytes) throw badAnswer(asked, `more than ${maxBytes} bytes`)
          parts.push(bytes.slice())
        }
      },
    })
    return { headers: received, parts }
  } catch (error) {
    const wait = waitAsked(error)
    if (wait !== undefined) network.lanesOf(new URL(answeredAt).host).backOff(wait)
    throw error
  } finally {
    lane.release()
  }
}

/** Whether an answer is a web page. */
export function isPage(headers: Headers): boolean {
  return /^\s*text\/html\b/i.test(headers.get('content-type') ?? '')
}

/** The server's answer is not what its API promises. */
export function badAnswer(asked: Asked, what: string, cause?: unknown): HubError {
  return new HubError(
    'bad-answer',
    `${asked.repository}: the server's answer cannot be used: ${what}`,
    { repository: asked.repository, what },
    cause,
  )
}
