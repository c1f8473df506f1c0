/** Says on stderr why nothing happens: a server is silent, or has failed and is asked again later. */

import type { Hub } from '../src/hub/hub.js'
import type { Fetch } from '../src/hub/http/range-fetch.js'
import { retryAfter } from '../src/hub/http/http-errors.js'
import type { CommandIO } from './output.js'

/** Silence after which something is said, in milliseconds. */
const silenceMs = 5000

/** Watches a hub's requests; the function returned ends that. */
export function sayWaits(hub: Hub, io: CommandIO): () => void {
  let [said, ended] = ['', false]
  const say = (text: string) => {
    // Each try fails alike.
    if (ended || io.signal.aborted || text === said) return
    said = text
    io.stderr(`${text}\n`)
  }
  const ask = hub.fetch
  const watched: Fetch = async (url, init) => {
    const { host } = new URL(url)
    const timer = setTimeout(() => say(`${host} has not answered for ${silenceMs / 1000} s; still waiting.`), silenceMs)
    try {
      const answer = await ask(url, init)
      const { status } = answer
      if (status === 429 || (status >= 500 && status !== 501 && status !== 505)) {
        const wait = retryAfter(answer.headers.get('retry-after'), Date.now())
        say(`${host} answered ${status}; asking again${wait === undefined ? '' : ` in ${Math.ceil(wait / 1000)} s`}.`)
      }
      return answer
    } catch (error) {
      // Ended from here after a long silence, of which something was said.
      if (init.signal?.aborted !== true) say(`${host} cannot be reached; trying again.`)
      throw error
    } finally {
      clearTimeout(timer)
    }
  }
  Object.assign(hub, { fetch: watched })
  return () => {
    ended = true
  }
}
