/** A page with a worker that runs the hub, for specs that need a browser but not Aquatint's page. */

import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import { test as base, type Page } from '@playwright/test'
import { build } from 'vite'
import type { SerializedError } from '../../src/errors.js'
import { PlaywrightTab } from '../browsers/drivers/chromium.js'
import type { Tab } from '../browsers/drivers/types.js'
import { startHubServer } from '../hub-server/server.js'
import type { HubServer, HubServerOptions } from '../hub-server/types.js'
import type { FileProgress } from '../../src/hub/types.js'
import type { Answer, Argument, HubMethods } from './methods.js'

/** Calls the hub that runs in a page's worker, in any browser. */
export interface HubCalls {
  call<M extends keyof HubMethods>(method: M, ...args: Argument<M>): Promise<Answer<M>>
  /** The error that a call fails with. */
  failure<M extends keyof HubMethods>(method: M, ...args: Argument<M>): Promise<SerializedError>
  /** Resolves when `loaded` bytes of a file are present. */
  reaches(path: string, loaded: number): Promise<void>
  /** The last progress event of a file. */
  progress(path: string): Promise<FileProgress>
  /** Terminates the worker. */
  terminate(): Promise<void>
  /** Waits until a folder is dropped on the page or picked in it, and opens the folder. */
  openGiven(): Promise<Answer<'openReference'>>
}

/** The hub in the worker of a page in Chromium. */
export interface HubDriver extends HubCalls {
  readonly page: Page
}

/** Faults of browsers, as code that runs in the worker before anything else. */
const brokenBrowsers = {
  absent: `Object.defineProperty(globalThis, 'indexedDB', { value: undefined })`,
  refused: `IDBFactory.prototype.open = () => { throw new DOMException('The operation is insecure.', 'SecurityError') }`,
  blocked: `IDBFactory.prototype.open = () => new EventTarget()`,
  /** Chromium sometimes rejects a Blob. Here it rejects the first two that are larger than one byte. */
  blobs: `
    let failures = 2
    const put = IDBObjectStore.prototype.put
    IDBObjectStore.prototype.put = function (value, key) {
      if (value instanceof Blob && value.size > 1 && failures-- > 0) throw new DOMException('Failed to write blobs (InvalidBlob)', 'DataError')
      return put.call(this, value, key)
    }`,
  /** A private window of Safari never accepts a Blob. */
  noBlobs: `
    const put = IDBObjectStore.prototype.put
    IDBObjectStore.prototype.put = function (value, key) {
      if (value instanceof Blob) throw new DOMException('Error preparing Blob/File data to be stored in object store', 'UnknownError')
      return put.call(this, value, key)
    }`,
  /** Another tab tests at the same moment whether Blobs can be stored, and deletes this tab's test value. */
  contested: `
    const put = IDBObjectStore.prototype.put
    IDBObjectStore.prototype.put = function (value, key) {
      const request = put.call(this, value, key)
      if (Array.isArray(key) && key[0] === '') this.delete(key)
      return request
    }`,
  /** A Content-Security-Policy forbids workers: some browsers throw, others (`deadWorkers`) dispatch an `error` event on the Worker. */
  noWorkers: `globalThis.Worker = class { constructor() { throw new DOMException('Refused', 'SecurityError') } }`,
  deadWorkers: `
    globalThis.Worker = class extends EventTarget {
      constructor() { super(); setTimeout(() => this.dispatchEvent(new Event('error')), 5) }
      postMessage() {}
      terminate() {}
    }`,
  /** The first worker dies after some work. */
  dyingWorkers: `
    let calls = 0
    const post = Worker.prototype.postMessage
    Worker.prototype.postMessage = function (...args) {
      if (++calls === 4) { this.terminate(); this.dispatchEvent(new Event('error')) }
      else post.apply(this, args)
    }`,
}

/** The name of one of the {@link brokenBrowsers}. */
type BrokenBrowser = keyof typeof brokenBrowsers

/** Bundles a script into one file. @param entry its source, relative to this folder */
export async function buildScript(entry: string): Promise<string> {
  const built = await build({
    configFile: false,
    logLevel: 'error',
    build: {
      write: false,
      target: 'es2023',
      lib: { entry: fileURLToPath(new URL(entry, import.meta.url)), formats: ['es'], fileName: 'script' },
    },
  })
  const [output] = Array.isArray(built) ? built : [built]
  return output !== undefined && 'output' in output ? output.output[0].code : ''
}

/** Builds the worker and serves it with its page. Returns the page's URL. */
export async function servePage(entry = '../pages/hub-worker.ts'): Promise<{ url: string; close: () => Promise<void> }> {
  return serveWorker(await buildScript(entry), await buildPage())
}

/** Bundles the script of the page. */
export function buildPage(): Promise<string> {
  return buildScript('../pages/hub-page.ts')
}

/** Serves a worker's script with its page, on an origin of its own. */
export async function serveWorker(worker: string, page: string): Promise<{ url: string; close: () => Promise<void> }> {
  const server = createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://localhost')
    const broken = brokenBrowsers[searchParams.get('broken') as BrokenBrowser] ?? ''
    const script = { '/worker.js': `${broken};${worker}`, '/page.js': page }[pathname]
    response.writeHead(200, { 'content-type': script === undefined ? 'text/html' : 'text/javascript' })
    response.end(script ?? '<!doctype html><title>hub</title><body><script type="module" src="/page.js"></script>')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

/** Opens the page in `page`. `broken` gives its worker one of the faults. */
export async function driveHub(page: Page, url: string, broken?: BrokenBrowser): Promise<HubDriver> {
  return { page, ...(await driveTab(new PlaywrightTab(page), url, broken)) }
}

/** Opens the page in a tab of any browser. `broken` gives its worker one of the faults. */
export async function driveTab(tab: Tab, url: string, broken?: BrokenBrowser): Promise<HubCalls> {
  await tab.goto(broken === undefined ? url : `${url}?broken=${broken}`)
  const send = (method: string, args: unknown[]) =>
    tab.evaluate<{ value?: unknown; error?: SerializedError }, { method: string; args: unknown[] }>(
      ({ method, args }) => Reflect.get(globalThis, 'call')(method, args),
      { method, args },
    )
  return {
    async call<M extends keyof HubMethods>(method: M, ...args: Argument<M>) {
      const answer = await send(method, args)
      if (answer.error !== undefined) throw new Error(`${method}: ${answer.error.code}: ${answer.error.message}`)
      return answer.value as Answer<M>
    },
    async failure<M extends keyof HubMethods>(method: M, ...args: Argument<M>) {
      const answer = await send(method, args)
      if (answer.error === undefined) throw new Error(`${method} did not fail`)
      return answer.error
    },
    async reaches(path, loaded) {
      await tab.waitForFunction(({ path, loaded }) => (Reflect.get(globalThis, 'progress')[path]?.loaded ?? 0) >= loaded, {
        path,
        loaded,
      })
    },
    async progress(path) {
      return tab.evaluate((path) => Reflect.get(globalThis, 'progress')[path] as FileProgress, path)
    },
    async openGiven() {
      await tab.waitForFunction(() => Reflect.has(globalThis, 'given'), null)
      const answer = await tab.evaluate<{ value?: unknown; error?: SerializedError }, null>(
        () => Reflect.get(globalThis, 'call')('openReference', [Reflect.get(globalThis, 'given')]),
        null,
      )
      if (answer.error !== undefined) throw new Error(`openReference: ${answer.error.code}: ${answer.error.message}`)
      return answer.value as Answer<'openReference'>
    },
    async terminate() {
      await tab.evaluate(() => Reflect.get(globalThis, 'terminate')(), null)
    },
  }
}

interface Fixtures {
  serverOptions: HubServerOptions
  server: HubServer
  hub: HubDriver
  /** Another page of the same browser, with its own worker. */
  newHub: (broken?: BrokenBrowser) => Promise<HubDriver>
}

interface WorkerFixtures {
  workerEntry: string
  pageUrl: string
}

/** Playwright's test, with a server that imitates the Hub and pages that run the hub. */
export const test = base.extend<Fixtures, WorkerFixtures>({
  workerEntry: ['../pages/hub-worker.ts', { option: true, scope: 'worker' }],
  pageUrl: [
    async ({ workerEntry }, use) => {
      const served = await servePage(workerEntry)
      await use(served.url)
      await served.close()
    },
    { scope: 'worker' },
  ],
  serverOptions: [{}, { option: true }],
  server: async ({ serverOptions }, use) => {
    const server = await startHubServer(serverOptions)
    await use(server)
    await server.close()
  },
  hub: async ({ page, pageUrl }, use) => {
    await use(await driveHub(page, pageUrl))
  },
  newHub: async ({ context, pageUrl }, use) => {
    await use(async (broken) => driveHub(await context.newPage(), pageUrl, broken))
  },
})

export { expect } from '@playwright/test'
