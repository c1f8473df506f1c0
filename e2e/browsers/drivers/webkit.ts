/** WebKitGTK by WebDriver: plain calls over HTTP. https://w3c.github.io/webdriver/ */

import { startWebKit, systemWebKit } from '../../../scripts/webkit.mjs'
import { clickActions, typeActions } from './input.js'
import { callText, parseResult, untilText } from './page-script.js'
import type { DrivenBrowser, Engine, LaunchOptions, Tab } from './types.js'

/** The browser runs in private mode: it keeps nothing on disk, and a killed browser loses its storage. */
export const webKitEngine: Engine = {
  name: 'webkit',
  keepsProfile: false,
  limitsStorage: false,
  missing: () => (systemWebKit() === undefined ? 'WebKitGTK, its WebDriver or Xvfb was not found' : undefined),
  launch,
}

/** The name of an element in WebDriver's JSON. */
const elementKey = 'element-6066-11e4-a52e-4f735466cecf'
/** The time limit for scripts and page loads, in milliseconds. It ends only those that hang. */
const hang = 600_000
/** MiniBrowser's window is at least this wide, in CSS pixels. A narrower page is opened in a frame. */
const leastWidth = 450

async function launch({ dark = false }: LaunchOptions = {}): Promise<DrivenBrowser> {
  const browser = systemWebKit()
  if (browser === undefined) throw new Error('WebKitGTK was not found')
  const webKit = await startWebKit(browser, ['--automation', ...(dark ? ['--dark-mode'] : [])])
  try {
    const { sessionId, capabilities } = await call<{ sessionId: string; capabilities: { browserVersion: string } }>(
      'POST',
      `${webKit.url}/session`,
      { capabilities: { alwaysMatch: { timeouts: { script: hang, pageLoad: hang } } } },
    )
    const session = new Session(`${webKit.url}/session/${sessionId}`)
    // New windows are opened from the first window, which stays open.
    const first = await session.send<string>('', 'GET', 'window')
    return {
      version: `WebKitGTK ${capabilities.browserVersion}`,
      newTab: async () => {
        const { handle } = await session.send<{ handle: string }>(first, 'POST', 'window/new', { type: 'window' })
        return new WebKitTab(session, handle)
      },
      // Nothing of a private browser is kept, so it may end at once.
      close: webKit.end,
      kill: webKit.end,
    }
  } catch (error) {
    await webKit.end()
    throw error
  }
}

async function call<R>(method: string, url: string, body?: object): Promise<R> {
  const response = await fetch(url, { method, ...(body === undefined ? {} : { body: JSON.stringify(body) }) })
  const { value } = (await response.json()) as { readonly value: unknown }
  if (response.ok) return value as R
  const { error, message } = value as { readonly error: string; readonly message: string }
  throw new Error(`${method} ${new URL(url).pathname}: ${error}: ${message}`)
}

/** A session. It has one current window, so calls for different windows wait for each other. */
class Session {
  readonly #url: string
  #window = ''
  #last: Promise<unknown> = Promise.resolve()

  constructor(url: string) {
    this.#url = url
  }

  /** Sends a command for a window, or with `''` for no window. */
  send<R = unknown>(window: string, method: string, path: string, body?: object): Promise<R> {
    const answer = this.#last.then(async () => {
      if (window !== '' && this.#window !== window) {
        await call('POST', `${this.#url}/window`, { handle: window })
        this.#window = window
      }
      return call<R>(method, `${this.#url}/${path}`, body)
    })
    this.#last = answer.catch(() => undefined)
    return answer
  }
}

interface Settled {
  readonly value?: unknown
  readonly error?: string
}

/** The number of calls of `#run` in all tabs; the last call has this number as its id. */
let promises = 0

class WebKitTab implements Tab {
  readonly #session: Session
  readonly #window: string
  /** The size of the frame that the page is in, if the window cannot be that narrow. */
  #frame: { readonly width: number; readonly height: number } | undefined

  constructor(session: Session, window: string) {
    this.#session = session
    this.#window = window
  }

  async goto(url: string): Promise<void> {
    if (this.#frame === undefined) return this.#send('POST', 'url', { url })
    // The frame is in a page of the same site, so that the storage is the same.
    await this.#send('POST', 'url', { url: new URL('/-/frame', url).href })
    await this.#fillFrame(url)
  }

  async reload(): Promise<void> {
    if (this.#frame === undefined) return this.#send('POST', 'refresh', {})
    const url = await this.evaluate(() => location.href, null)
    await this.goto(url)
  }

  async evaluate<R, A>(fn: (argument: A) => R | Promise<R>, argument: A): Promise<R> {
    const { value, error } = await this.#run(callText(fn, argument))
    if (error !== undefined) throw new Error(error)
    return parseResult(value) as R
  }

  async waitForFunction<A>(fn: (argument: A) => unknown, argument: A): Promise<void> {
    const { error } = await this.#run(untilText(fn, argument))
    if (error !== undefined) throw new Error(error)
  }

  async setViewportSize(size: { readonly width: number; readonly height: number }): Promise<void> {
    const wasFrame = this.#frame !== undefined
    const url = await this.evaluate(() => location.href, null)
    this.#frame = size.width < leastWidth ? size : undefined
    // The page is loaded in the frame by the next `goto` or `reload`.
    if (this.#frame !== undefined) return
    if (wasFrame) return this.goto(url)
    // The window's size includes its tool bar.
    const { height } = await this.evaluate(() => ({ height: outerHeight - innerHeight }), null)
    await this.#send('POST', 'window/rect', { width: size.width, height: size.height + height })
  }

  async screenshot(): Promise<Uint8Array> {
    // The driver's pictures of single elements have black bands, so the screenshot shows the whole window. A frame fills only the upper left
    // corner of the window.
    return Buffer.from(await this.#send<string>('GET', 'screenshot'), 'base64')
  }

  async click(x: number, y: number): Promise<void> {
    await this.#send('POST', 'actions', { actions: clickActions(x, y) })
  }

  async type(text: string): Promise<void> {
    await this.#send('POST', 'actions', { actions: typeActions(text) })
  }

  async close(): Promise<void> {
    await this.#send('DELETE', 'window')
  }

  #send<R = void>(method: string, path: string, body?: object): Promise<R> {
    return this.#session.send<R>(this.#window, method, path, body)
  }

  #findFrame(): Promise<Readonly<Record<typeof elementKey, string>>> {
    return this.#send('POST', 'element', { using: 'css selector', value: 'iframe' })
  }

  async #enterFrame(): Promise<void> {
    await this.#send('POST', 'frame', { id: await this.#findFrame() })
  }

  async #fillFrame(url: string): Promise<void> {
    const loaded = callText(
      ({ src, width, height }: { readonly src: string; readonly width: number; readonly height: number }) =>
        new Promise<void>((resolve) => {
          const frame = document.createElement('iframe')
          Object.assign(frame, { src, width, height })
          frame.style.border = '0'
          frame.addEventListener('load', () => resolve())
          document.body.replaceChildren(frame)
        }),
      { src: url, width: this.#frame?.width ?? 0, height: this.#frame?.height ?? 0 },
    )
    await this.#run(loaded)
    await this.#enterFrame()
  }

  /**
   * Waits for a promise in the page by short calls: during a call, WebDriver does nothing else in any window.
   */
  async #run(expression: string): Promise<Settled> {
    const id = ++promises
    const begin = `const all = (globalThis[Symbol.for('driven promises')] ??= new Map()); all.set(${id}, null); ${expression}.then((value) => all.set(${id}, { value }), (error) => all.set(${id}, { error: String(error) }))`
    await this.#send('POST', 'execute/sync', { script: begin, args: [] })
    const ask = `const all = globalThis[Symbol.for('driven promises')]; return all?.has(${id}) ? all.get(${id}) : { error: 'The page was left' }`
    for (;;) {
      const settled = await this.#send<Settled | null>('POST', 'execute/sync', { script: ask, args: [] })
      if (settled !== null) return settled
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }
}
