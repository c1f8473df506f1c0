/**
 * A page with a worker in a browser without DevTools, for measuring memory. Playwright attaches the DevTools protocol to its pages, and the
 * process of such a page keeps up to 200 MB of downloaded bytes for the inspector. Here, calls and answers use HTTP instead.
 */

import { spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { chromium } from '@playwright/test'
import { chromiumLaunchOptions } from '../../scripts/chromium.mjs'
import { buildScript } from './harness.js'

export interface UnwatchedPage {
  /** Folder of the browser's profile, which is empty at first. */
  readonly profile: string
  /** Calls a method of the worker. Calls must not overlap. @throws Error with the worker's message */
  call<T>(method: string, ...args: readonly unknown[]): Promise<T>
  /** Kills the browser, and opens the page again on the same profile. */
  restart(): Promise<void>
  close(): Promise<void>
}

/** The script of the page: it gets calls from the server, one after the other, and sends the answers back. */
const pageScript = `
  const worker = new Worker('/worker.js', { type: 'module' })
  const ask = async (path, body) => (await fetch(path, { method: 'POST', body })).text()
  for (;;) {
    const call = JSON.parse(await ask('/next'))
    const answer = await new Promise((resolve) => {
      worker.onmessage = ({ data }) => { if (data.id === call.id) resolve(data) }
      worker.postMessage(call)
    })
    await ask('/answer', JSON.stringify(answer))
  }`

interface Answer {
  readonly value?: unknown
  readonly error?: unknown
}

/** Opens the page. @param entry the worker's source, relative to this folder; it answers `{id, method, args}` with `{id, value}` or `{id, error}` */
export async function openUnwatchedPage(entry: string): Promise<UnwatchedPage> {
  const script = await buildScript(entry)
  let calls = 0
  /** The page's pending request for its next call. */
  let asked = deferredResponse()
  let answered: ((answer: Answer) => void) | undefined

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (request.url === '/next') return asked.resolve(response)
    if (request.url === '/answer') {
      answered?.(JSON.parse(await text(request)) as Answer)
      response.end()
      return
    }
    const isScript = request.url === '/worker.js'
    response.writeHead(200, { 'content-type': isScript ? 'text/javascript' : 'text/html' })
    response.end(isScript ? script : `<!doctype html><title>unwatched</title><script type="module">${pageScript}</script>`)
  }

  const server = createServer((request, response) => {
    serve(request, response).catch(() => response.destroy())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const profile = await mkdtemp(join(tmpdir(), 'hub-profile-'))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
  let browser = start(profile, url)

  return {
    profile,
    async call<T>(method: string, ...args: readonly unknown[]) {
      const response = await Promise.race([asked.promise, browser.ended])
      asked = deferredResponse()
      const answer = new Promise<Answer>((resolve) => (answered = resolve))
      response.end(JSON.stringify({ id: ++calls, method, args }))
      const { value, error } = await Promise.race([answer, browser.ended])
      if (error !== undefined) throw new Error(`${method}: ${typeof error === 'string' ? error : JSON.stringify(error)}`)
      return value as T
    },
    async restart() {
      await browser.kill()
      // A killed browser leaves these files, which mark the profile as in use.
      for (const name of ['SingletonLock', 'SingletonCookie', 'SingletonSocket']) await rm(join(profile, name), { force: true })
      asked = deferredResponse()
      browser = start(profile, url)
    },
    async close() {
      await browser.kill()
      await rm(profile, { recursive: true, force: true, maxRetries: 5 })
      await new Promise<void>((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      })
    },
  }
}

const nothing = () => {}

function deferredResponse(): { promise: Promise<ServerResponse>; resolve: (response: ServerResponse) => void } {
  let resolve: (response: ServerResponse) => void = nothing
  const promise = new Promise<ServerResponse>((settle) => (resolve = settle))
  return { promise, resolve }
}

/** `ended` rejects when the browser does not start, or when it ends. */
function start(profile: string, url: string): { ended: Promise<never>; kill: () => Promise<void> } {
  const { executablePath = chromium.executablePath(), args } = chromiumLaunchOptions()
  const child = spawn(executablePath, [...args, '--headless=new', `--user-data-dir=${profile}`, '--no-first-run', url], {
    stdio: 'ignore',
  })
  const ended = new Promise<never>((_, reject) => {
    child.once('error', reject)
    child.once('close', () => reject(new Error('The browser has ended')))
  })
  // Callers that wait for an answer receive this rejection. If none waits, as after kill(), it must not end the process.
  ended.catch(nothing)
  return {
    ended,
    async kill() {
      child.kill('SIGKILL')
      await ended.catch(nothing)
    },
  }
}
