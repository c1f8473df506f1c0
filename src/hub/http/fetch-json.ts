/** JSON from a server that strangers may have filled: bounded, tried again like everything else, and parsed to `unknown`. */

import { parseJson } from '../../util/parse-json.js'
import { badAnswer, fileNotFound, type Requested } from './http-errors.js'
import { retrying, type Transport, requestedWait } from './piece-fetch.js'
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
  transport: Transport,
  url: string,
  headers: Readonly<Record<string, string>>,
  requested: Requested,
  signal: AbortSignal,
): Promise<JsonAnswer> {
  const answer = await retrying(transport, signal, () => fetchOnce(transport, url, headers, requested, signal))
  const bytes = new Uint8Array(await new Blob(answer.parts).arrayBuffer())
  return { value: parseAnswer(bytes, requested), headers: answer.headers, bytes: bytes.length }
}

/** The JSON of an answer. @throws HubError `bad-answer` */
export function parseAnswer(bytes: Uint8Array, requested: Requested): unknown {
  try {
    return parseJson(bytes, { file: requested.path ?? requested.repository, maxBytes: maxAnswerBytes, duplicateKeys: 'last' })
  } catch (error) {
    throw badAnswer(requested, 'no sound JSON', error)
  }
}

async function fetchOnce(
  transport: Transport,
  url: string,
  headers: Readonly<Record<string, string>>,
  requested: Requested,
  signal: AbortSignal,
) {
  const slot = await transport.connectionsTo(new URL(url).host).acquire(signal)
  const parts: Uint8Array<ArrayBuffer>[] = []
  let received = new Headers()
  let count = 0
  let answeredAt = url
  try {
    await fetchRange({
      fetch: transport.fetch,
      url,
      headers,
      range: undefined,
      size: undefined,
      requested,
      stallMs: transport.settings.stallMs,
      signal,
      onAnswer: (from) => (answeredAt = from),
      accept: (head) => {
        received = head.headers
        // A site that answers every path with its own page has no such file.
        if (isPage(head.headers)) throw fileNotFound(requested, 200)
        return (bytes) => {
          count += bytes.length
          if (count > maxAnswerBytes) throw badAnswer(requested, `more than ${maxAnswerBytes} bytes`)
          parts.push(bytes.slice())
        }
      },
    })
    return { headers: received, parts }
  } catch (error) {
    const wait = requestedWait(error)
    if (wait !== undefined) transport.connectionsTo(new URL(answeredAt).host).backOff(wait)
    throw error
  } finally {
    slot.release()
  }
}

/** Whether an answer is a web page. */
export function isPage(headers: Headers): boolean {
  return /^\s*text\/html\b/i.test(headers.get('content-type') ?? '')
}
