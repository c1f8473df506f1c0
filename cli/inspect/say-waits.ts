/** Reports on stderr why a command is waiting: a server does not answer, or has failed and is tried again later. */

import type { Fetch } from '../../src/hub/http/transport.js'
import { retryAfter } from '../../src/hub/http/http-errors.js'
import type { CommandIO } from '../output.js'

/** Milliseconds without an answer after which a wait is reported. */
const silenceMs = 5000

/** A `fetch` that reports waits on stderr until `end` is called. */
export function sayWaits(io: CommandIO): { readonly fetch: Fetch; readonly end: () => void } {
  let [said, ended] = ['', false]
  const say = (text: string) => {
    // Attempts that fail in the same way have the same text, which is reported once.
    if (ended || io.signal.aborted || text === said) return
    said = text
    io.stderr(`${text}\n`)
  }
  const watched: Fetch = async (url, init) => {
    const { host } = new URL(url)
    const timer = setTimeout(() => say(`${host} has not answered for ${silenceMs / 1000} s; still waiting.`), silenceMs)
    try {
      const answer = await globalThis.fetch(url, init)
      const { status } = answer
      if (status === 429 || (status >= 500 && status !== 501 && status !== 505)) {
        const wait = retryAfter(answer.headers.get('retry-after'), Date.now())
        say(`${host} answered ${status}; asking again${wait === undefined ? '' : ` in ${Math.ceil(wait / 1000)} s`}.`)
      }
      return answer
    } catch (error) {
      // If `Hub` aborted the request because the server did not answer, the timer has reported this already.
      if (init.signal?.aborted !== true) say(`${host} cannot be reached; trying again.`)
      throw error
    } finally {
      clearTimeout(timer)
    }
  }
  return {
    fetch: watched,
    end: () => {
      ended = true
    },
  }
}
