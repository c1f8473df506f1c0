/** A browser with a profile on disk that can be killed and started again on the same profile. */

import { spawn, type ChildProcess } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { chromium, type Browser, type Page } from '@playwright/test'
import { chromiumLaunchOptions } from '../../scripts/chromium.mjs'

export interface KillableBrowser {
  /** Folder of the profile. */
  readonly profile: string
  /** The browser's version, such as `156.0.7400.2`. */
  version(): string
  newPage(): Promise<Page>
  /** Kills the browser with SIGKILL. */
  kill(): Promise<void>
  /** Kills the browser if it still runs, and starts it again. */
  restart(): Promise<void>
  /** Closes the browser, and deletes the profile unless its folder was given. */
  close(): Promise<void>
}

/** Starts a browser on the profile in the folder `given`, or on an empty profile. */
export async function launchBrowser(given?: string): Promise<KillableBrowser> {
  const profile = given ?? (await mkdtemp(join(tmpdir(), 'hub-profile-')))
  let { child, browser } = await start(profile)
  const kill = async () => {
    if (child.exitCode !== null || child.signalCode !== null) return
    const gone = new Promise((resolve) => child.once('close', resolve))
    child.kill('SIGKILL')
    await gone
  }
  return {
    profile,
    version: () => browser.version(),
    newPage: async () => (browser.contexts()[0] ?? (await browser.newContext())).newPage(),
    kill,
    async restart() {
      await kill()
      ;({ child, browser } = await start(profile))
    },
    async close() {
      await kill()
      if (given === undefined) await rm(profile, { recursive: true, force: true, maxRetries: 5 })
    },
  }
}

async function start(profile: string): Promise<{ child: ChildProcess; browser: Browser }> {
  // A killed browser leaves these files, which mark the profile as in use.
  for (const name of ['SingletonLock', 'SingletonCookie', 'SingletonSocket']) await rm(join(profile, name), { force: true })
  const { executablePath = chromium.executablePath(), args } = chromiumLaunchOptions()
  const child = spawn(
    executablePath,
    [...args, '--headless=new', `--user-data-dir=${profile}`, '--remote-debugging-port=0', '--no-first-run', 'about:blank'],
    {
      stdio: ['ignore', 'ignore', 'pipe'],
    },
  )
  const endpoint = await new Promise<string>((resolve, reject) => {
    let text = ''
    child.stderr.on('data', (data: Buffer) => {
      text += data.toString()
      const match = /DevTools listening on (ws:\S+)/.exec(text)
      if (match?.[1] !== undefined) resolve(match[1])
    })
    child.once('exit', () => reject(new Error(`The browser did not start: ${text}`)))
  })
  return { child, browser: await chromium.connectOverCDP(endpoint) }
}
