/** A page with a worker that holds the hub, for specs that need a browser but not Aquatint's page. */

import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import { test as base, type Page } from '@playwright/test'
import { build } from 'vite'
import type { SerializedError } from '../../src/errors.js'
import { startHubServer } from '../hub-server/server.js'
import type { HubServer } from '../hub-server/types.js'
import type { HubMethods } from '../pages/hub-worker.js'

/** The hub in a page's worker. */
export interface HubDriver {
  readonly page: Page
  call<M extends keyof HubMethods>(method: M, ...args: Parameters<HubMethods[M]>): Promise<Awaited<ReturnType<HubMethods[M]>>>
  /** The error a call ends with. */
  failure<M extends keyof HubMethods>(method: M, ...args: Parameters<HubMethods[M]>): Promise<SerializedError>
  /** Resolves when so many bytes of a file are here. */
  reaches(path: string, loaded: number): Promise<void>
  /** Ends the worker at once. */
  terminate(): Promise<void>
}

/** What the page itself runs: one worker, calls answered by number, progress kept. */
const pageScript = `
  let worker, next = 0
  const waiting = new Map()
  globalThis.progress = {}
  globalThis.startWorker = () => {
    worker = new Worker('/worker.js', { type: 'module' })
    worker.onmessage = ({ data }) => {
      if (data.progress) { globalThis.progress[data.progress.path] = data.progress; return }
      const settle = waiting.get(data.id)
      waiting.delete(data.id)
      settle(data)
    }
  }
  globalThis.terminate = () => worker.terminate()
  globalThis.call = (method, args) => new Promise((resolve) => {
    waiting.set(++next, resolve)
    worker.postMessage({ id: next, method, args })
  })
  startWorker()`

/** Builds the worker and serves it with its page. Returns the page's URL. */
export async function servePage(): Promise<{ url: string; close: () => Promise<void> }> {
  const built = await build({
    configFile: false,
    logLevel: 'error',
    build: {
      write: false,
      target: 'es2023',
      lib: { entry: fileURLToPath(new URL('../pages/hub-worker.ts', import.meta.url)), formats: ['es'], fileName: 'worker' },
    },
  })
  const [output] = Array.isArray(built) ? built : [built]
  const script = output !== undefined && 'output' in output ? output.output[0].code : ''
  const server = createServer((request, response) => {
    const isScript = request.url === '/worker.js'
    response.writeHead(200, { 'content-type': isScript ? 'text/javascript' : 'text/html' })
    response.end(isScript ? script : `<!doctype html><title>hub</title><script>${pageScript}</script>`)
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

/** Opens the page in `page`. */
export async function driveHub(page: Page, url: string): Promise<HubDriver> {
  await page.goto(url)
  const send = (method: string, args: unknown[]) =>
    page.evaluate<{ value?: unknown; error?: SerializedError }, { method: string; args: unknown[] }>(
      ({ method, args }) => Reflect.get(globalThis, 'call')(method, args),
      { method, args },
    )
  return {
    page,
    async call<M extends keyof HubMethods>(method: M, ...args: Parameters<HubMethods[M]>) {
      const answer = await send(method, args)
      if (answer.error !== undefined) throw new Error(`${method}: ${answer.error.code}: ${answer.error.message}`)
      return answer.value as Awaited<ReturnType<HubMethods[M]>>
    },
    async failure<M extends keyof HubMethods>(method: M, ...args: Parameters<HubMethods[M]>) {
      const answer = await send(method, args)
      if (answer.error === undefined) throw new Error(`${method} did not fail`)
      return answer.error
    },
    async reaches(path, loaded) {
      await page.waitForFunction(
        ({ path, loaded }) => (Reflect.get(globalThis, 'progress')[path]?.loaded ?? 0) >= loaded,
        { path, loaded },
        { polling: 20 },
      )
    },
    async terminate() {
      await page.evaluate(() => Reflect.get(globalThis, 'terminate')())
    },
  }
}

/** Playwright's test, with a look-alike server, and pages that hold the hub. */
export const test = base.extend<{ server: HubServer; hub: HubDriver; newHub: () => Promise<HubDriver> }, { pageUrl: string }>({
  pageUrl: [
    async ({ browserName: _ }, use) => {
      const served = await servePage()
      await use(served.url)
      await served.close()
    },
    { scope: 'worker' },
  ],
  server: async ({ browserName: _ }, use) => {
    const server = await startHubServer()
    await use(server)
    await server.close()
  },
  hub: async ({ page, pageUrl }, use) => {
    await use(await driveHub(page, pageUrl))
  },
  newHub: async ({ context, pageUrl }, use) => {
    await use(async () => driveHub(await context.newPage(), pageUrl))
  },
})

export { expect } from '@playwright/test'
