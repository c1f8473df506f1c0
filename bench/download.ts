/**
 * `npm run bench:download [-- --mebibytes N --cap MB/s --line MB/s]`: compares Aquatint's download of one file with those by other tools.
 * The server caps each stream, or all streams share a line, or there is no limit. Only Aquatint verifies and stores what it
 * downloads; the other tools write to memory (fetch, @huggingface/hub), the Cache API (transformers.js) or a file (curl). Without a limit,
 * two more rows show what bounds Aquatint in this browser: the first fetches and stores the same chunks without verifying them, and the second
 * only hashes the same number of bytes. On Linux, the benchmark also reports the browser's CPU seconds. Other work of the machine changes
 * CPU seconds less than elapsed time.
 */

import { spawn } from 'node:child_process'
import { mkdtemp, rm, stat } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import type { Page } from '@playwright/test'
import { launchBrowser } from '../e2e/hub/browser.js'
import { driveHub, servePage } from '../e2e/hub/harness.js'
import { syntheticFile } from '../e2e/hub-server/repositories.js'
import { startHubServer } from '../e2e/hub-server/server.js'
import type { Faults, HubServer } from '../e2e/hub-server/types.js'
import { buildRivals, rivalVersions } from './download/build-rivals.js'
import { processorSeconds } from './renderer-memory.js'

const id = 'owner/large'
const path = 'model.safetensors'
/** The number of curl's streams: as many as a browser opens to one host. */
const streams = 6

interface Way {
  readonly name: string
  /** Prepares a download with an empty cache. The returned `run` downloads once and returns the bytes that arrived; only `run` is timed. */
  prepare(server: HubServer): Promise<Prepared>
}

interface Prepared {
  readonly run: () => Promise<number>
  readonly close: () => Promise<void>
  /** The CPU seconds so far, if they can be measured. */
  readonly processor?: (() => number) | undefined
}

export async function main(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      mebibytes: { type: 'string', default: '256' },
      cap: { type: 'string', default: '5' },
      line: { type: 'string', default: '20' },
    },
  })
  const size = Number(values.mebibytes) * (1 << 20)
  const settings: readonly (readonly [string, Faults])[] = [
    [`each stream capped at ${values.cap} MB/s`, { bytesPerSecond: Number(values.cap) * 1e6 }],
    [`a line of ${values.line} MB/s (${8 * Number(values.line)} Mbit/s)`, { lineBytesPerSecond: Number(values.line) * 1e6 }],
    ['no cap', {}],
  ]
  const script = await buildRivals()
  const rivalPage = await serve(script)
  const ownPage = await servePage()
  const limitPage = await servePage('../../bench/download/worker.ts')
  const ways = [
    aquatint(ownPage.url),
    rival('fetch', rivalPage.url),
    rival('hub', rivalPage.url),
    rival('transformers', rivalPage.url),
    curl(size),
  ]
  const limits = [limit('fetchAndStore', limitPage.url, size), limit('hash', limitPage.url, size)]
  console.log(`${size} bytes; compared with ${rivalVersions.join(', ')}, curl × ${streams}`)
  for (const [setting, faults] of settings) {
    console.log(`\n${setting}`)
    console.log('| way | bytes | seconds | MB/s | against one fetch | browser, CPU s |')
    console.log('| --- | --- | --- | --- | --- | --- |')
    const server = await startHubServer({ repositories: { [id]: { [path]: syntheticFile(size, 3) } } })
    await server.commit(id)
    const rows: { name: string; bytes: number; seconds: number; busy: number | undefined }[] = []
    for (const way of setting === 'no cap' ? [...ways, ...limits] : ways) {
      server.setFaults(faults)
      const { run, close, processor } = await way.prepare(server)
      const before = processor?.() ?? 0
      const began = performance.now()
      try {
        const bytes = await run()
        const seconds = (performance.now() - began) / 1000
        rows.push({ name: way.name, bytes, seconds, busy: processor === undefined ? undefined : processor() - before })
      } finally {
        await close()
      }
    }
    await server.close()
    const single = rows.find((row) => row.name === 'fetch')?.seconds ?? NaN
    for (const { name, bytes, seconds, busy } of rows) {
      const cells = [name, bytes, seconds.toFixed(2), (bytes / seconds / 1e6).toFixed(1), `× ${(single / seconds).toFixed(2)}`]
      console.log(`| ${[...cells, busy?.toFixed(2) ?? '–'].join(' | ')} |`)
    }
  }
  await Promise.all([rivalPage.close(), ownPage.close(), limitPage.close()])
}

/** A download that runs in a page of a new browser. */
function inBrowser(name: string, open: (page: Page, server: HubServer) => Promise<() => Promise<number>>): Way {
  return {
    name,
    async prepare(server) {
      const browser = await launchBrowser()
      try {
        const run = await open(await browser.newPage(), server)
        const processor = process.platform === 'linux' ? () => processorSeconds(browser.profile) : undefined
        return { run, close: () => browser.close(), processor }
      } catch (error) {
        // If the page fails, nothing else closes the browser.
        await browser.close()
        throw error
      }
    },
  }
}

/** Aquatint's download, in a worker: parallel, verified, into IndexedDB. */
function aquatint(url: string): Way {
  return inBrowser('aquatint', async (page, server) => {
    const hub = await driveHub(page, url)
    return async () => {
      await hub.call('open', id, { endpoint: server.url })
      const [bytes = 0] = await hub.call('load', path)
      return bytes
    }
  })
}

function rival(name: 'fetch' | 'hub' | 'transformers', url: string): Way {
  return inBrowser(name, async (page, { url: endpoint }) => {
    await page.goto(url)
    await page.waitForFunction(() => Reflect.has(globalThis, 'rivals'))
    return () =>
      page.evaluate<number, { name: string; file: object }>(({ name, file }) => Reflect.get(globalThis, 'rivals')[name](file), {
        name,
        file: { endpoint, id, path },
      })
  })
}

/** Measures a limit of this browser: how fast it does only one part of Aquatint's work. */
function limit(method: 'fetchAndStore' | 'hash', url: string, size: number): Way {
  const name = { fetchAndStore: 'limit: fetched and stored', hash: 'limit: hashed' }[method]
  return inBrowser(name, async (page, server) => {
    await page.goto(url)
    const { url: file } = await fetch(`${server.url}/${id}/resolve/main/${path}`, { method: 'HEAD' })
    return async () => {
      const answer = await page.evaluate<{ value?: number; error?: string }, { method: string; args: [number, string] }>(
        ({ method, args }) => Reflect.get(globalThis, 'call')(method, args),
        { method, args: [size, file] },
      )
      if (answer.value === undefined) throw new Error(answer.error)
      return answer.value
    }
  })
}

/** curl as the reference: as many streams as a browser has, each writing its part of the file without verifying it. */
function curl(size: number): Way {
  return {
    name: `curl × ${streams}`,
    async prepare(server) {
      const folder = await mkdtemp(join(tmpdir(), 'bench-'))
      const { url } = await fetch(`${server.url}/${id}/resolve/main/${path}`, { method: 'HEAD' })
      const part = Math.ceil(size / streams)
      const one = (k: number) =>
        new Promise<void>((resolve, reject) => {
          const range = `${k * part}-${Math.min(size, (k + 1) * part) - 1}`
          const child = spawn('curl', ['-sSf', '-r', range, '-o', join(folder, String(k)), url], {
            stdio: ['ignore', 'ignore', 'inherit'],
          })
          child.once('error', reject)
          child.once('close', (status) => (status === 0 ? resolve() : reject(new Error(`curl ended with ${status}`))))
        })
      return {
        async run() {
          await Promise.all(Array.from({ length: streams }, (_, k) => one(k)))
          const sizes = await Promise.all(Array.from({ length: streams }, (_, k) => stat(join(folder, String(k)))))
          return sizes.reduce((sum, each) => sum + each.size, 0)
        },
        close: () => rm(folder, { recursive: true }),
      }
    },
  }
}

async function serve(script: string): Promise<{ url: string; close: () => Promise<void> }> {
  const server = createServer((request, response) => {
    const isScript = request.url === '/rivals.js'
    response.writeHead(200, { 'content-type': isScript ? 'text/javascript' : 'text/html' })
    response.end(isScript ? script : '<!doctype html><title>rivals</title><script type="module" src="/rivals.js"></script>')
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
