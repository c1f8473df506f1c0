/**
 * `npm run bench:load [-- --mebibytes N]`: compares loading a cached model into GPU buffers, after a restart of the browser, with a plain read of the
 * same chunks from IndexedDB. Also reports the renderer's peak memory above idle. Needs Linux, for /proc.
 */

import { parseArgs } from 'node:util'
import type { Page } from '@playwright/test'
import { launchBrowser } from '../e2e/hub/browser.js'
import { servePage } from '../e2e/hub/harness.js'
import { syntheticFile } from '../e2e/hub-server/repositories.js'
import { startHubServer } from '../e2e/hub-server/server.js'
import { renderersOf, watchPeak } from './renderer-memory.js'

const id = 'owner/large'
const shardMebibytes = 256

export async function main(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({ args: [...args], options: { mebibytes: { type: 'string', default: '2304' } } })
  const shards = Math.ceil(Number(values.mebibytes) / shardMebibytes)
  const files = Array.from(
    { length: shards },
    (_, k) => [`unet/shard-${k}.safetensors`, syntheticFile(shardMebibytes << 20, k + 1)] as const,
  )
  const server = await startHubServer({ repositories: { [id]: Object.fromEntries(files) } })
  await server.commit(id)
  const served = await servePage('../../bench/load/worker.ts')
  const browser = await launchBrowser()
  try {
    const page = await open(await browser.newPage(), served.url)
    const filled = await call(page, 'fill', id, server.url)
    console.log(`${filled.bytes} bytes in ${shards} shards, downloaded in ${filled.seconds.toFixed(1)} s`)
    console.log('| way | seconds | GB/s | renderer peak above idle, MB |\n| --- | --- | --- | --- |')
    server.clearLog()
    for (const method of ['readPlainly', 'readTensors', 'loadToGpu', 'readPlainly', 'readTensors', 'loadToGpu']) {
      await browser.restart()
      const fresh = await open(await browser.newPage(), served.url)
      const peak = watchPeak(renderersOf(browser.profile))
      const { bytes, seconds } = await call(fresh, method, id, server.url)
      if (bytes !== filled.bytes) throw new Error(`${method} read ${bytes} bytes of ${filled.bytes}`)
      console.log(`| ${method} | ${seconds.toFixed(2)} | ${(bytes / seconds / 1e9).toFixed(2)} | ${(peak() / 1e6).toFixed(0)} |`)
    }
    if (server.log.length > 0) throw new Error(`Loading a cached model made ${server.log.length} requests`)
  } finally {
    await browser.close()
    await Promise.all([server.close(), served.close()])
  }
}

async function open(page: Page, url: string): Promise<Page> {
  await page.goto(url)
  return page
}

async function call(page: Page, method: string, ...args: string[]): Promise<{ bytes: number; seconds: number }> {
  type Answer = { value?: { bytes: number; seconds: number }; error?: string }
  const answer = await page.evaluate<Answer, { method: string; args: string[] }>(
    ({ method, args }) => Reflect.get(globalThis, 'call')(method, args),
    { method, args },
  )
  if (answer.value === undefined) throw new Error(answer.error)
  return answer.value
}
