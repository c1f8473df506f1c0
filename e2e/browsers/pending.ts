/** What a test waits for when its time is over: the calls that its tabs have not answered, and whether their pages still answer. */

import type { Tab } from './drivers/types.js'

/** Milliseconds within which a page must answer after its test has run out of time. */
const patience = 10_000

/** A tab whose unanswered calls are recorded. */
export interface WatchedTab {
  readonly tab: Tab
  /** The calls without an answer, and the address and text of the page, if the page answers. */
  describe(): Promise<string>
}

/** Watches the calls of a tab. */
export function watch(watched: Tab): WatchedTab {
  const pending = new Set<string>()
  const tab = new Proxy(watched, {
    get: (target, name) => {
      const method: unknown = Reflect.get(target, name)
      if (typeof method !== 'function') return method
      return async (...args: readonly unknown[]) => {
        const call = `${String(name)}(${args.map(String).join(', ')})`
        pending.add(call)
        try {
          return (await Reflect.apply(method, target, args)) as unknown
        } finally {
          pending.delete(call)
        }
      }
    },
  })
  const describe = async () => {
    const calls = [...pending].join('\n') || 'no call'
    const silence = new Promise<string>((resolve) => setTimeout(resolve, patience, 'The page does not answer.'))
    const page = watched
      .evaluate(() => {
        const box = document.querySelector('aquatint-prompt')
        const state =
          box === null ? '' : ` The prompt box is ${box.state}: ${box.shadowRoot?.querySelector('.headline')?.textContent ?? ''}.`
        return `The page ${location.href} answers.${state} Its text: ${document.body.innerText.slice(0, 1000)}`
      }, null)
      .catch((error: unknown) => `The page answers with an error: ${String(error)}`)
    return `A tab waits for: ${calls}\n${await Promise.race([page, silence])}`
  }
  return { tab, describe }
}
