/** Chromium by Playwright. */

import { chromium, type Page } from 'playwright'
import { chromiumLaunchOptions } from '../../../scripts/chromium.mjs'
import { launchBrowser } from '../../hub/browser.js'
import type { DrivenBrowser, Engine, LaunchOptions, Tab } from './types.js'

/** A Chromium is never missing, because `npm test` installs one. */
export const chromiumEngine: Engine = {
  name: 'chromium',
  keepsProfile: true,
  limitsStorage: true,
  missing: () => undefined,
  launch,
}

async function launch({ dark = false, isPrivate = false, profile, storage }: LaunchOptions = {}): Promise<DrivenBrowser> {
  if (profile !== undefined) {
    const running = await launchBrowser(profile)
    return {
      version: `Chromium ${running.version()}`,
      newTab: async () => new PlaywrightTab(await running.newPage()),
      kill: () => running.kill(),
      close: () => running.close(),
    }
  }
  const { args, ...options } = chromiumLaunchOptions()
  const browser = await chromium.launch({ ...options, args: isPrivate ? [...args, '--incognito'] : args })
  // Service workers are allowed, as in the other browsers.
  const context = await browser.newContext({
    colorScheme: dark ? 'dark' : 'light',
    reducedMotion: 'reduce',
    serviceWorkers: 'allow',
  })
  const close = () => browser.close()
  return {
    version: `Chromium ${browser.version()}`,
    newTab: async () => new PlaywrightTab(await context.newPage(), storage),
    close,
    kill: close,
  }
}

/** A page of Playwright as a tab. */
export class PlaywrightTab implements Tab {
  readonly #page: Page
  readonly #storage: number | undefined

  /** @param storage MiB that a site may store; Chromium's own quota if undefined */
  constructor(page: Page, storage?: number) {
    this.#page = page
    this.#storage = storage
  }

  async goto(url: string): Promise<void> {
    if (this.#storage !== undefined) {
      const session = await this.#page.context().newCDPSession(this.#page)
      const quotaSize = this.#storage * 2 ** 20
      await session.send('Storage.overrideQuotaForOrigin', { origin: new URL(url).origin, quotaSize })
    }
    await this.#page.goto(url)
  }

  async reload(): Promise<void> {
    await this.#page.reload()
  }

  async evaluate<R, A>(fn: (argument: A) => R | Promise<R>, argument: A): Promise<R> {
    return (await this.#page.evaluate(fn as (argument: unknown) => unknown, argument)) as R
  }

  async waitForFunction<A>(fn: (argument: A) => unknown, argument: A): Promise<void> {
    await this.#page.waitForFunction(fn as (argument: unknown) => unknown, argument, { polling: 20, timeout: 0 })
  }

  setViewportSize(size: { readonly width: number; readonly height: number }): Promise<void> {
    return this.#page.setViewportSize(size)
  }

  screenshot(): Promise<Uint8Array> {
    return this.#page.screenshot()
  }

  click(x: number, y: number): Promise<void> {
    return this.#page.mouse.click(x, y)
  }

  type(text: string): Promise<void> {
    return this.#page.keyboard.type(text)
  }

  close(): Promise<void> {
    return this.#page.close()
  }
}
