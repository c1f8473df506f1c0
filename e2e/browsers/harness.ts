/**
 * Fixtures of the specs that run in every browser: the browser of the project (`engineName` in playwright.config.ts), its tabs, the built site
 * on an origin of its own for each test, and a Hub look-alike. Without the browser the specs are skipped, and say what is missing.
 */

import { test as base, type TestInfo } from '@playwright/test'
import { startHubServer } from '../hub-server/server.js'
import { buildPage, buildScript, driveTab, serveWorker, type HubCalls } from '../hub/harness.js'
import type { HubServer } from '../hub-server/types.js'
import { startFolder } from '../ui/site-server.js'
import { engines } from './drivers/engines.js'
import type { DrivenBrowser, Engine, EngineName, Tab } from './drivers/types.js'
import { watch, type WatchedTab } from './pending.js'

export { expect } from '@playwright/test'

/** The repository that the specs load. */
export const model = 'fixtures/tiny-sd15'

interface Fixtures {
  /** The origin of the built site, which no other test uses: its storage is empty. */
  readonly site: string
  readonly server: HubServer
  readonly newTab: () => Promise<Tab>
  readonly tab: Tab
  /** Opens the page of the hub's worker, on an origin that no other test uses, in a new tab or in the given one. */
  readonly newHub: (tab?: Tab) => Promise<HubInTab>
  /** Opens the page of the hub's worker in a private window, where a site may store {@link privateStorage}, if the driver can set that. */
  readonly newPrivateHub: () => Promise<HubInTab>
  readonly hubUrl: string
  readonly available: undefined
}

interface WorkerFixtures {
  readonly engineName: EngineName
  readonly engine: Engine
  /** The running browser, or the reason why it does not run. */
  readonly launched: DrivenBrowser | string
  /** A browser with private windows only, in which a site may store {@link privateStorage}, if the driver can set that. */
  readonly privateBrowser: DrivenBrowser
  readonly hubScripts: readonly [worker: string, page: string]
}

/**
 * The MiB that a site may store in a private window. It is less than a chunk of 16 MiB, because Chromium may let one more transaction pass
 * before it counts the last one.
 */
const privateStorage = 12

/** The hub in the worker of a page. */
export interface HubInTab extends HubCalls {
  readonly tab: Tab
}

/** The options of a project. */
export type BrowserOptions = Pick<WorkerFixtures, 'engineName'>

const pages = {
  /** The page in which the driver of WebKit opens a narrow frame. */
  '/-/frame': { html: '<!doctype html><title>Frame</title><body style="margin: 0">' },
  /** A script for pages whose Content-Security-Policy may forbid inline scripts: it lists what the policy has refused. */
  '/-/violations.js': {
    html: `document.addEventListener('securitypolicyviolation', ({ violatedDirective, blockedURI }) => {
  document.documentElement.dataset.violations = (document.documentElement.dataset.violations ?? '') + violatedDirective + ' ' + blockedURI + '\\n'
})`,
    headers: { 'content-type': 'text/javascript' },
  },
}

/** Playwright's test without its own browser. */
export const test = base.extend<Fixtures, WorkerFixtures>({
  engineName: ['chromium', { option: true, scope: 'worker' }],
  engine: [async ({ engineName }, use) => use(engines[engineName]), { scope: 'worker' }],
  launched: [
    async ({ engine }, use) => {
      const launched = engine.missing() ?? (await launch(engine))
      await use(launched)
      if (typeof launched !== 'string') await launched.close()
    },
    { scope: 'worker' },
  ],
  privateBrowser: [
    async ({ engine }, use) => {
      const browser = await engine.launch({ isPrivate: true, ...(engine.limitsStorage ? { storage: privateStorage } : {}) })
      await use(browser)
      await browser.close()
    },
    { scope: 'worker' },
  ],
  available: [
    async ({ launched }, use, info) => {
      if (typeof launched === 'string') info.skip(true, launched)
      await use(undefined)
    },
    { auto: true },
  ],
  site: async ({ engineName: _engine }, use) => {
    const served = await startFolder('dist/site', pages, { 'access-control-allow-origin': '*' })
    await use(served.url)
    await served.close()
  },
  server: async ({ engineName: _engine }, use) => {
    const server = await startHubServer({ repositories: { [model]: `${model}/repo` } })
    await use(server)
    await server.close()
  },
  newTab: async ({ launched: driven }, use, info) => {
    if (typeof driven === 'string') throw new Error(driven)
    await useTabs(driven, use, info)
  },
  tab: async ({ newTab }, use) => use(await newTab()),
  hubScripts: [
    async ({ engineName: _engine }, use) => use([await buildScript('../pages/hub-worker.ts'), await buildPage()]),
    { scope: 'worker' },
  ],
  hubUrl: async ({ hubScripts }, use) => {
    const served = await serveWorker(...hubScripts)
    await use(served.url)
    await served.close()
  },
  newHub: async ({ newTab, hubUrl }, use) => {
    await use(async (given) => {
      const tab = given ?? (await newTab())
      return { tab, ...(await driveTab(tab, hubUrl)) }
    })
  },
  newPrivateHub: async ({ privateBrowser, hubUrl }, use, info) => {
    const useHubs = (newTab: () => Promise<Tab>) =>
      use(async () => {
        const tab = await newTab()
        return { tab, ...(await driveTab(tab, hubUrl)) }
      })
    await useTabs(privateBrowser, useHubs, info)
  },
})

/** Gives a test the tabs that it opens, and closes them afterwards. If the test has run out of time, prints what its tabs wait for. */
async function useTabs(
  browser: DrivenBrowser,
  use: (newTab: () => Promise<Tab>) => Promise<void>,
  info: TestInfo,
): Promise<void> {
  info.annotations.push({ type: 'browser', description: browser.version })
  const tabs: WatchedTab[] = []
  await use(async () => {
    const watched = watch(await browser.newTab())
    tabs.push(watched)
    return watched.tab
  })
  if (info.status === 'timedOut') for (const watched of tabs) console.error(await watched.describe())
  for (const { tab } of tabs) await tab.close().catch(() => undefined)
}

/** Starts the browser. Some machines have WebKitGTK but cannot start it: the reason is returned, and its specs are skipped. */
async function launch(engine: Engine): Promise<DrivenBrowser | string> {
  if (engine.name !== 'webkit') return engine.launch()
  try {
    return await engine.launch()
  } catch (error) {
    return `WebKitGTK does not start here: ${String(error)}`
  }
}
