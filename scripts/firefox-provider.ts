/** Runs browser tests of vitest in Firefox. Each of vitest's sessions is a page in a Firefox of its own. */
import { playwright } from '@vitest/browser-playwright'
import type { BrowserProvider, BrowserProviderOption } from 'vitest/node'
import { openFirefox } from './firefox.mjs'

/** Opens and closes pages, and has no commands: the tests drive no mouse and no keyboard. */
class FirefoxProvider implements BrowserProvider {
  readonly name = 'firefox'
  readonly supportsParallelism = false
  readonly #pages = new Map<string, Promise<() => Promise<void>>>()

  getCommandsContext(): Record<string, unknown> {
    return {}
  }

  async openPage(sessionId: string, url: string): Promise<void> {
    const before = this.#pages.get(sessionId)
    if (before !== undefined) await (await before)()
    const page = openFirefox(url)
    this.#pages.set(sessionId, page)
    await page
  }

  async close(): Promise<void> {
    await Promise.allSettled([...this.#pages.values()].map(async (page) => (await page)()))
  }
}

/** A value for `test.browser.provider` of a vitest project. Playwright's own Firefox channel does not start the Firefox of the system. */
export function firefox(): BrowserProviderOption {
  // The server of the test pages is the same for each provider.
  const { serverFactory } = playwright()
  return { name: 'firefox', options: {}, providerFactory: () => new FirefoxProvider(), serverFactory }
}
