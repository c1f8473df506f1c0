/** Fetches JSON from an untrusted server: of limited length, retried like every other request, and parsed to `unknown`. */

import { HubError, isAquatintError } from '../../errors.js'
import { parseJson } from '../../util/parse-json.js'
import { isPage } from './answer-body.js'
import { badAnswer, fileNotFound, type Requested } from './http-errors.js'
import { fetchRange } from './range-fetch.js'
import { requestedWait, retrying } from './retry.js'
import type { Transport } from './transport.js'

/** The longest answer that is read, in bytes. The Hub sends 1,000 files a page, with a few hundred bytes for each. */
export const maxAnswerBytes = 10_000_000

/** What is requested, and the name that errors give it. */
export interface JsonRequest {
  readonly url: string
  readonly headers?: Readonly<Record<string, string>> | undefined
  readonly requested: Requested
  readonly signal: AbortSignal
}

/** A parsed answer. */
export interface JsonAnswer {
  readonly value: unknown
  readonly headers: Headers
  /** Length of the body in bytes. */
  readonly bytes: number
}

/** @throws HubError `bad-answer` when the body is not JSON or too long, and all that fetchRange throws */
export async function fetchJson(transport: Transport, request: JsonRequest): Promise<JsonAnswer> {
  const answer = await retrying(transport, request.signal, () => fetchOnce(transport, request))
  const bytes = new Uint8Array(await new Blob(answer.parts).arrayBuffer())
  return { value: parseAnswer(bytes, request.requested), headers: answer.headers, bytes: bytes.length }
}

/** The JSON of an answer. @throws HubError `bad-answer` */
export function parseAnswer(bytes: Uint8Array, requested: Requested): unknown {
  try {
    return parseJson(bytes, { file: requested.path ?? requested.repository, maxBytes: maxAnswerBytes, duplicateKeys: 'last' })
  } catch (error) {
    const known = isAquatintError(error) && !error.code.startsWith('json-')
    throw badAnswer(requested, known ? error.message.replace(/\.$/, '') : 'it is not valid JSON', error)
  }
}

async function fetchOnce(transport: Transport, { url, headers = {}, requested, signal }: JsonRequest) {
  const slot = await transport.connectionsTo(new URL(url).host).acquire(signal)
  const parts: Uint8Array<ArrayBuffer>[] = []
  let received = new Headers()
  let count = 0
  let answeredAt = url
  try {
    await fetchRange({
      transport,
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
        // A site that answers every path with its own HTML page does not have the file.
        if (isPage(head.headers)) throw requested.path === undefined ? notTheHub(requested, url) : fileNotFound(requested, 200)
        return (bytes) => {
          count += bytes.length
          if (count > maxAnswerBytes) throw badAnswer(requested, `it is longer than ${maxAnswerBytes} bytes`)
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

/** A page where the Hub's API should be. */
function notTheHub({ repository }: Requested, url: string): HubError {
  const { origin } = new URL(url)
  const message = `${repository}: ${origin} answered with an HTML page where the Hub's API should be, such as a login page. Check the endpoint, and that this network does not ask you to log in.`
  return new HubError('html-page', message, { repository })
}
