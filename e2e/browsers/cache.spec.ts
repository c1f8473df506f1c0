/**
 * Promises 4 and 7 of docs/downloads.md, where browsers differ: the type of a stored chunk, private windows, a full storage, and a browser
 * that is killed.
 */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { mebibyte, weightsPath } from '../hub/files.js'
import { driveTab } from '../hub/harness.js'
import { sha256Of, syntheticFile } from '../hub-server/repositories.js'
import type { DrivenBrowser, EngineName, Tab } from './drivers/types.js'
import { expect, test } from './harness.js'

const file = syntheticFile(20 * mebibyte, 2)

/** The type of a stored chunk. The driver of WebKitGTK opens private windows only. Private windows store no Blobs in WebKit. */
const kinds: Readonly<Record<EngineName, string>> = { chromium: 'Blob', firefox: 'Blob', webkit: 'ArrayBuffer' }

/** The types of the stored chunks. */
function storedKinds(tab: Tab): Promise<string[]> {
  return tab.evaluate(
    ([success, failure]) =>
      new Promise<string[]>((resolve, reject) => {
        const opening = indexedDB.open('aquatint-chunks')
        opening.addEventListener(failure, () => reject(opening.error ?? new Error('The database did not open')))
        opening.addEventListener(success, () => {
          const reading = opening.result.transaction('chunks').objectStore('chunks').getAll()
          reading.addEventListener(failure, () => reject(reading.error ?? new Error('The chunks could not be read')))
          reading.addEventListener(success, () => {
            opening.result.close()
            resolve(reading.result.map((value: unknown) => Object.prototype.toString.call(value).slice(8, -1)))
          })
        })
      }),
    ['success', 'error'] as const,
  )
}

test('a file is stored in the form that the browser keeps, and another tab reads it without a request', async ({
  engineName,
  server,
  newHub,
}) => {
  server.setRepository('owner/name', { [weightsPath]: file })
  const hub = await newHub()
  await hub.call('open', 'owner/name', { endpoint: server.url })
  await hub.call('load', weightsPath)
  expect(await hub.call('trouble')).toEqual([])
  expect(await storedKinds(hub.tab)).toEqual([kinds[engineName], kinds[engineName]])
  server.clearLog()
  const other = await newHub()
  await other.call('open', 'owner/name', { endpoint: server.url })
  await other.call('load', weightsPath)
  expect(await other.call('hash', weightsPath)).toBe(await sha256Of(file))
  expect(server.log).toEqual([])
})

test('a private window stores a file', async ({ server, newPrivateHub }) => {
  const small = syntheticFile(3 * mebibyte, 4)
  server.setRepository('owner/name', { [weightsPath]: small })
  const hub = await newPrivateHub()
  await hub.call('open', 'owner/name', { endpoint: server.url })
  await hub.call('load', weightsPath)
  expect(await hub.call('hash', weightsPath)).toBe(await sha256Of(small))
  expect(await hub.call('trouble')).toEqual([])
  expect((await hub.progress(weightsPath)).storage).toBeUndefined()
  expect(await hub.call('totalBytes')).toBe(small.size)
})

test('in a full storage the file loads from memory, and the load says so', async ({ engine, server, newPrivateHub }) => {
  test.skip(!engine.limitsStorage, 'its driver cannot limit the storage')
  server.setRepository('owner/name', { [weightsPath]: file })
  const hub = await newPrivateHub()
  await hub.call('open', 'owner/name', { endpoint: server.url })
  await hub.call('load', weightsPath)
  expect(await hub.call('hash', weightsPath)).toBe(await sha256Of(file))
  expect(await hub.call('trouble')).toContain('quota-exceeded')
  expect((await hub.progress(weightsPath)).storage).toBe('memory')
})

test('after a kill, the next run resumes from the stored chunks and ends with the same bytes', async ({
  engine,
  server,
  hubUrl,
  newTab,
}) => {
  const settings = { chunkBytes: 2 * mebibyte, pieceBytes: mebibyte, memoryBytes: 6 * mebibyte }
  server.setRepository('owner/name', { [weightsPath]: file })
  const half = file.size / 2
  // No byte of the second half arrives before the kill, even if a closed tab does not end at once and sends one more request.
  const pieces = Array.from({ length: half / settings.pieceBytes }, (_, k) => half + k * settings.pieceBytes)
  server.setFaults({ rules: pieces.map((covers) => ({ match: { host: 'cdn', covers }, stallAfter: 0 })) })
  const profile = mkdtempSync(join(tmpdir(), 'aquatint-profile-'))
  let browser: DrivenBrowser | undefined
  /** Starts the browser on the profile. With an engine that keeps no profile, opens only a new tab. */
  const open = async () => {
    if (!engine.keepsProfile) return newTab()
    browser = await engine.launch({ profile })
    return browser.newTab()
  }
  try {
    const tab = await open()
    const hub = await driveTab(tab, hubUrl)
    await hub.call('setUp', settings)
    await hub.call('open', 'owner/name', { endpoint: server.url })
    hub.call('load', weightsPath).catch(() => {})
    // A chunk counts as stored when its transaction has ended.
    await expect.poll(() => hub.call('totalBytes')).toBe(half)
    await (browser === undefined ? tab.close() : browser.kill())

    const next = await open()
    const again = await driveTab(next, hubUrl)
    // The browser frees the lock of the file when the worker that downloaded it has ended.
    await next.waitForFunction(async () => (await navigator.locks.query()).held?.length === 0, null)
    server.setFaults({})
    server.clearLog()
    await again.call('setUp', settings)
    await again.call('open', 'owner/name', { endpoint: server.url })
    await again.call('load', weightsPath)
    expect(await again.call('hash', weightsPath)).toBe(await sha256Of(file))
    const fetched = server.log.reduce((sum, { host, bytes }) => sum + (host === 'cdn' ? bytes : 0), 0)
    expect(fetched).toBe(half)
  } finally {
    await browser?.close()
    rmSync(profile, { recursive: true, force: true, maxRetries: 5 })
  }
})
