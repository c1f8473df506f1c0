/** Firefox by WebDriver BiDi. */

import { startFirefox, systemFirefox } from '../../../scripts/firefox.mjs'
import { BidiConnection } from './bidi.js'
import { clickActions, typeActions } from './input.js'
import { callText, parseResult, untilText } from './page-script.js'
import type { DrivenBrowser, Engine, LaunchOptions, Tab } from './types.js'

/** Each `DrivenBrowser` is a Firefox of its own. */
export const firefoxEngine: Engine = {
  name: 'firefox',
  keepsProfile: true,
  limitsStorage: true,
  missing: () => (systemFirefox() === undefined ? 'Firefox 153 or later was not found' : undefined),
  launch,
}

async function launch({
  dark = false,
  isPrivate = false,
  profile,
  storage,
  suspends = true,
}: LaunchOptions = {}): Promise<DrivenBrowser> {
  const preferences = {
    'layout.css.prefers-color-scheme.content-override': dark ? 0 : 1,
    'ui.prefersReducedMotion': 1,
    // While a page scrolls smoothly, a click can miss its element.
    'general.smoothScroll': false,
    // The limit is in KiB for all sites together. A site may have a fifth of it, and at least 10 MB.
    ...(storage === undefined ? {} : { 'dom.quotaManager.temporaryStorage.fixedLimit': 5 * storage * 1024 }),
    'javascript.options.wasm_js_promise_integration': suspends,
    ...(isPrivate ? { 'browser.privatebrowsing.autostart': true } : {}),
  }
  const firefox = await startFirefox({ preferences, ...(profile === undefined ? {} : { profile }) })
  try {
    const { connection, capabilities } = await BidiConnection.open(firefox.bidi)
    return {
      version: `Firefox ${String(capabilities['browserVersion'])}`,
      newTab: async () => {
        // Each tab is a window of its own, because a browser slows down the timers of a tab in the background.
        const { context } = await connection.send<{ context: string }>('browsingContext.create', { type: 'window' })
        return new FirefoxTab(connection, context)
      },
      close: async () => {
        connection.close()
        await firefox.close()
      },
      kill: async () => {
        connection.close()
        await firefox.kill()
      },
    }
  } catch (error) {
    await firefox.close()
    throw error
  }
}

interface ScriptResult {
  readonly type: 'success' | 'exception'
  readonly result?: { readonly value?: unknown }
  readonly exceptionDetails?: { readonly text: string }
}

class FirefoxTab implements Tab {
  readonly #connection: BidiConnection
  readonly #context: string

  constructor(connection: BidiConnection, context: string) {
    this.#connection = connection
    this.#context = context
  }

  async goto(url: string): Promise<void> {
    await this.#send('browsingContext.navigate', { url, wait: 'complete' })
  }

  async reload(): Promise<void> {
    await this.#send('browsingContext.reload', { wait: 'complete' })
  }

  async evaluate<R, A>(fn: (argument: A) => R | Promise<R>, argument: A): Promise<R> {
    return parseResult(await this.#run(callText(fn, argument))) as R
  }

  async waitForFunction<A>(fn: (argument: A) => unknown, argument: A): Promise<void> {
    await this.#run(untilText(fn, argument))
  }

  async setViewportSize(viewport: { readonly width: number; readonly height: number }): Promise<void> {
    await this.#send('browsingContext.setViewport', { viewport })
  }

  async screenshot(): Promise<Uint8Array> {
    const { data } = await this.#send<{ data: string }>('browsingContext.captureScreenshot', {})
    return Buffer.from(data, 'base64')
  }

  async click(x: number, y: number): Promise<void> {
    await this.#send('input.performActions', { actions: clickActions(x, y) })
  }

  async type(text: string): Promise<void> {
    await this.#send('input.performActions', { actions: typeActions(text) })
  }

  async close(): Promise<void> {
    await this.#send('browsingContext.close', {})
  }

  #send<R = unknown>(method: string, params: object): Promise<R> {
    return this.#connection.send<R>(method, { context: this.#context, ...params })
  }

  async #run(expression: string): Promise<unknown> {
    const { type, result, exceptionDetails } = await this.#connection.send<ScriptResult>('script.evaluate', {
      expression,
      target: { context: this.#context },
      awaitPromise: true,
    })
    if (type === 'exception') throw new Error(exceptionDetails?.text)
    return result?.value
  }
}
