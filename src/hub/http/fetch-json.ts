/** JSON from a server that strangers may have filled: bounded, tried again like everything else, and parsed to `unknown`. */

import { parseJson } from '../../util/parse-json.js'
import { badAnswer, fileNotFound, type Asked } from './http-errors.js'
import { retrying, type Network, waitAsked } from './piece-fetch.js'
import { fetchRange } from './range-fetch.js'
/** Longest answer that is read. The Hub gives 1,000 entries a page, a few hundred bytes each. */
export const maxAnswerBytes = 10_000_000

export interface JsonAnswer {
  readonly value: unknown
  readonly headers: Headers
  /** Bytes of the body. */
  readonly bytes: number
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
  const bytes = new Uint8Array(await new Blob(answer.parts).arrayBuffer())
  return { value: parseAnswer(bytes, asked), headers: answer.headers, bytes: bytes.length }
}

/** The JSON of an answer. @throws HubError `bad-answer` */
export function parseAnswer(bytes: Uint8Array, asked: Asked): unknown {
  try {
    return parseJson(bytes, { file: asked.path ?? asked.repository, maxBytes: maxAnswerBytes, duplicateKeys: 'last' })
  } catch (error) {
    throw badAnswer(asked, 'no sound JSON', error)
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
          if (count > maxAnswerBytes) throw badAnswer(asked, `more than ${maxAnswerBytes} bytes`)
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
