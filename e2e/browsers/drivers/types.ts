/** The interface through which a spec drives any browser: the operations that Playwright, WebDriver BiDi and WebDriver have in common. */

/** The browser engines: `webkit` is WebKitGTK. */
export type EngineName = 'chromium' | 'firefox' | 'webkit'

/** A tab. Its methods are those of Playwright's `Page`, but `click` and `type` are those of its `mouse` and `keyboard`. */
export interface Tab {
  /** Resolves when the page has loaded. */
  goto(url: string): Promise<void>
  reload(): Promise<void>
  /**
   * Runs a function in the page. The function cannot use variables of its enclosing scope. Its argument and its result are copied as JSON.
   * @throws Error with the message of what the function threw
   */
  evaluate<R, A>(fn: (argument: A) => R | Promise<R>, argument: A): Promise<R>
  /** Resolves when the function returns a truthy value. */
  waitForFunction<A>(fn: (argument: A) => unknown, argument: A): Promise<void>
  /** In CSS pixels. In WebKit, a width below that of its narrowest window takes effect with the next `goto` or `reload`. */
  setViewportSize(size: { readonly width: number; readonly height: number }): Promise<void>
  /** The visible part of the page, as PNG. In WebKit a narrow page fills only the upper left corner of the picture. */
  screenshot(): Promise<Uint8Array>
  /** Presses the main button of the mouse at a place of the window, in CSS pixels. */
  click(x: number, y: number): Promise<void>
  /** Presses the keys that write a text. */
  type(text: string): Promise<void>
  close(): Promise<void>
}

/** How a browser is started. */
export interface LaunchOptions {
  /** Prefer the dark colour scheme. */
  readonly dark?: boolean
  /** Private windows only. */
  readonly isPrivate?: boolean
  /** About how many MiB a site may store, if the engine's driver can limit this. */
  readonly storage?: number
  /** Folder of the profile, which is kept when the browser ends. Default: an empty profile. */
  readonly profile?: string
  /** If false, Firefox runs without JSPI, like a browser that cannot suspend WebAssembly. Other engines ignore this option. */
  readonly suspends?: boolean
}

/** A running browser. Its tabs share their storage. */
export interface DrivenBrowser {
  /** Such as `Firefox 153.0`. */
  readonly version: string
  newTab(): Promise<Tab>
  close(): Promise<void>
  /** Ends all its processes at once, as a crash does. */
  kill(): Promise<void>
}

/** How an engine is driven. */
export interface Engine {
  readonly name: EngineName
  /** The reason why this machine cannot run the engine; undefined if it can. */
  missing(): string | undefined
  /** Whether a profile is stored on disk: WebDriver starts WebKitGTK with one in memory only. */
  readonly keepsProfile: boolean
  /** Whether the driver can limit what a site may store. */
  readonly limitsStorage: boolean
  launch(options?: LaunchOptions): Promise<DrivenBrowser>
}
