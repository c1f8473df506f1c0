/** Promise 4 of docs/downloads.md: after a kill at any moment, the next run resumes from the stored chunks and ends with the same bytes. */

import { launchBrowser } from './hub/browser.js'
import { sha256Of, syntheticFile } from './hub-server/repositories.js'
import { mebibyte, weightsPath } from './hub/files.js'
import { driveHub, expect, test, type HubDriver } from './hub/harness.js'
import type { HubServer } from './hub-server/types.js'

/** The default settings at an eighth of their size: six chunks may be in flight. */
const settings = { chunkBytes: 2 * mebibyte, pieceBytes: mebibyte, memoryBytes: 12 * mebibyte }
const file = syntheticFile(34 * mebibyte + 12_345, 3)
/** The most bytes that may have been in flight. */
const inFlight = 6 * settings.chunkBytes

/** Loads a file and kills the run at 10, 50 and 90 %. Each run may download again only what was in flight in the run before. */
async function killThrice(
  server: HubServer,
  open: () => Promise<HubDriver>,
  kill: (hub: HubDriver) => Promise<void>,
): Promise<void> {
  server.setRepository('owner/large', { [weightsPath]: file })
  server.setFaults({ bytesPerSecond: 2.5 * mebibyte })
  let here = 0
  for (const part of [0.1, 0.5, 0.9, 1]) {
    server.clearLog()
    const hub = await open()
    await hub.call('setUp', settings)
    await hub.call('open', 'owner/large', { endpoint: server.url })
    const loading = hub.call('load', weightsPath)
    loading.catch(() => {})
    await (part === 1 ? loading : hub.reaches(weightsPath, file.size * part))
    const { loaded, cached } = await hub.progress(weightsPath)
    expect(here - cached).toBeLessThanOrEqual(inFlight)
    here = loaded
    if (part < 1) {
      await kill(hub)
      continue
    }
    // A request of the page that was killed may arrive late; this page's requests begin with the file's address.
    const own = server.log.slice(server.log.findIndex(({ kind }) => kind === 'resolve'))
    const fetched = own.reduce((sum, { host, bytes }) => sum + (host === 'cdn' ? bytes : 0), 0)
    expect(fetched).toBe(file.size - cached)
    expect(await hub.call('hash', weightsPath)).toBe(await sha256Of(file))
  }
}

test('promise 4: the worker is terminated', async ({ server, newHub }) => {
  await killThrice(server, newHub, async (hub) => {
    await hub.terminate()
    await hub.page.close()
  })
})

test('promise 4: the tab crashes', async ({ server, newHub }) => {
  await killThrice(server, newHub, async (hub) => {
    const session = await hub.page.context().newCDPSession(hub.page)
    const crashed = new Promise((resolve) => hub.page.once('crash', resolve))
    session.send('Page.crash').catch(() => {})
    await crashed
    await hub.page.close()
  })
})

test('promise 4: the browser is killed', async ({ server, pageUrl }) => {
  const browser = await launchBrowser()
  try {
    await killThrice(
      server,
      async () => driveHub(await browser.newPage(), pageUrl),
      () => browser.restart(),
    )
  } finally {
    await browser.close()
  }
})
