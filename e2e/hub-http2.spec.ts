/**
 * Promises 1 and 4 of docs/downloads.md over HTTP/2. More than six requests run at once if this makes the download faster; over HTTP/1.1, a
 * browser opens at most six connections. A tab that is killed still has at most six chunks in flight.
 */

import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { chromiumLaunchOptions } from '../scripts/chromium.mjs'
import { mebibyte, weightsPath } from './hub/files.js'
import { expect, test } from './hub/harness.js'
import { sha256Of, syntheticFile } from './hub-server/repositories.js'

const file = syntheticFile(36 * mebibyte, 21)
const { args, ...browser } = chromiumLaunchOptions()

test.use({ serverOptions: { tls: certificate() }, launchOptions: { ...browser, args: [...args, '--ignore-certificate-errors'] } })

test('promise 1: HTTP/2 carries up to twelve requests at once', async ({ server, hub }) => {
  expect(server.url).toMatch(/^https:/)
  // Each answer is so slow that the number of concurrent requests limits the download, also on a busy machine. Later answers are fast.
  const file = syntheticFile(9 * mebibyte, 21)
  server.setRepository('owner/name', { [weightsPath]: file })
  server.setFaults({ bytesPerSecond: mebibyte / 32 })
  await hub.call('setUp', { pieceBytes: mebibyte / 8, chunkBytes: mebibyte / 2 })
  await hub.call('open', 'owner/name', { endpoint: server.url })
  const loading = hub.call('load', weightsPath)
  const most = () => Math.max(...server.log.map((entry) => entry.concurrency))
  await expect.poll(most).toBeGreaterThan(7)
  server.setFaults({})
  await loading
  expect(await hub.call('hash', weightsPath)).toBe(await sha256Of(file))
  expect(most()).toBeLessThanOrEqual(12)
})

test('promise 4: killed over HTTP/2, the next run downloads at most six chunks again', async ({ server, newHub }) => {
  server.setRepository('owner/name', { [weightsPath]: file })
  server.setFaults({ bytesPerSecond: mebibyte })
  // The numbers of bytes are an eighth of the defaults. Twelve requests may run from the start.
  const settings = {
    pieceBytes: mebibyte,
    chunkBytes: 2 * mebibyte,
    memoryBytes: 12 * mebibyte,
    startConnections: 12,
    maxConnections: 12,
  }
  const open = async () => {
    const hub = await newHub()
    await hub.call('setUp', settings)
    await hub.call('open', 'owner/name', { endpoint: server.url })
    return hub
  }
  const first = await open()
  first.call('load', weightsPath).catch(() => {})
  await first.reaches(weightsPath, file.size * 0.7)
  const { loaded } = await first.progress(weightsPath)
  expect(Math.max(...server.log.map((entry) => entry.concurrency))).toBeGreaterThan(7)
  expect(await first.call('memoryPeak')).toBeLessThanOrEqual(settings.memoryBytes)
  await first.terminate()
  server.setFaults({})
  const second = await open()
  await second.call('load', weightsPath)
  expect(loaded - (await second.progress(weightsPath)).cached).toBeLessThanOrEqual(6 * settings.chunkBytes)
  expect(await second.call('hash', weightsPath)).toBe(await sha256Of(file))
})

/** A new self-signed certificate for each run; the browser is started so that it accepts any. */
function certificate(): { key: string; cert: string } {
  const folder = mkdtempSync(join(tmpdir(), 'hub-tls-'))
  try {
    const [key, cert] = [join(folder, 'key.pem'), join(folder, 'cert.pem')]
    const subject = ['-subj', '/CN=127.0.0.1', '-addext', 'subjectAltName=IP:127.0.0.1', '-days', '2']
    execFileSync('openssl', ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', ...subject, '-keyout', key, '-out', cert], {
      stdio: 'ignore',
    })
    return { key: readFileSync(key, 'utf8'), cert: readFileSync(cert, 'utf8') }
  } finally {
    rmSync(folder, { recursive: true })
  }
}
