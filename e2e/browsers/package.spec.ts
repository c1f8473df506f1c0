/** The packed library in every browser: the Vite of a separate project builds a page with it, and the page generates a picture. */

import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { main, size } from '../ui/consumer-main.js'
import { Consumer } from '../ui/consumer.js'
import { startFolder } from '../ui/site-server.js'
import { expect, model, test } from './harness.js'

interface Made {
  make(repo: string, endpoint: string): Promise<number[]>
  refuse(endpoint: string): Promise<string>
  element(): boolean
}

test('the Vite build of a consumer finds the worker and the wasm, and generates a picture', async ({ tab, server }) => {
  const folder = mkdtempSync(join(tmpdir(), 'aquatint-consumer-'))
  const consumer = new Consumer(folder)
  consumer.write({ 'main.ts': main })
  const dist = consumer.build('<!doctype html><title>Consumer</title><script type="module" src="/src/main.ts"></script>')
  const assets = readdirSync(join(dist, 'assets'))
  expect(assets.filter((name) => name.endsWith('.wasm'))).toHaveLength(3)
  expect(assets.some((name) => name.startsWith('engine.worker'))).toBe(true)

  const site = await startFolder(dist)
  try {
    await tab.goto(site.url)
    await tab.waitForFunction(() => 'make' in window, null)
    expect(await tab.evaluate(() => (window as unknown as Made).element(), null)).toBe(true)
    const pixels = await tab.evaluate(([repo, endpoint]) => (window as unknown as Made).make(repo, endpoint), [
      model,
      server.url,
    ] as const)
    expect(pixels).toHaveLength(size * size * 4)
    expect(await tab.evaluate((endpoint) => (window as unknown as Made).refuse(endpoint), server.url)).toBe(
      'repository-not-found',
    )
  } finally {
    await site.close()
    rmSync(folder, { recursive: true, force: true })
  }
})
