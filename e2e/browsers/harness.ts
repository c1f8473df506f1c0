/**
 * What the specs that run in every browser share: the browser of the project (`engineName` in playwright.config.ts), its tabs, the built site
 * on an origin of its own for each test, and a Hub look-alike. Without the browser the specs are skipped, and say what is missing.
 */

import { test as base } from '@playwright/test'
import { startHubServer } from '../hub-server/server.js'
import type { HubServer } from '../hub-server/types.js'
import { startFolder } from '../ui/site-server.js'
import { chromiumEngine } from './drivers/chromium.js'
import { firefoxEngine } from './drivers/firefox.js'
import type { DrivenBrowser, Engine, EngineName, Tab } from './drivers/types.js'
import { webKitEngine } from './drivers/webkit.js'

export { expect } from '@playwright/test'

const engines: Readonly<Record<EngineName, Engine>> = { chromium: chromiumEngine, firefox: firefoxEngine, webkit: webKitEngine }

/** The repository that the specs load. */
export const model = 'fixtures/tiny-sd15'

interface Fixtures {
  /** The origin of the built site, which no other test uses: its storage is empty. */
  readonly site: string
  readonly server: HubServer
  readonly newTab: () => Promise<Tab>
  readonly tab: Tab
  readonly available: undefined
}

interface WorkerFixtures {
  readonly engineName: EngineName
  readonly engine: Engine
  /** The running browser, or why it does not run. */
  readonly launched: DrivenBrowser | string
}

/** The options of a project. */
export type BrowserOptions = Pick<WorkerFixtures, 'engineName'>

/** A page that the driver of WebKit puts a narrow frame into. */
const framePage = { html: '<!doctype html><title>Frame</title><body style="margin: 0">' }

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
  available: [
    async ({ launched }, use, info) => {
      if (typeof launched === 'string') info.skip(true, launched)
      await use(undefined)
    },
    { auto: true },
  ],
  site: async ({ engineName: _engine }, use) => {
    const served = await startFolder('dist/site', { '/-/frame': framePage })
    await use(served.url)
    await served.close()
  },
  server: async ({ engineName: _engine }, use) => {
    const server = await startHubServer({ repositories: { [model]: `${model}/repo` } })
    await use(server)
    await server.close()
  },
  newTab: async ({ launched: driven }, use, { annotations }) => {
    if (typeof driven === 'string') throw new Error(driven)
    annotations.push({ type: 'browser', description: driven.version })
    const tabs: Tab[] = []
    await use(async () => {
      const tab = await driven.newTab()
      tabs.push(tab)
      return tab
    })
    for (const tab of tabs) await tab.close().catch(() => undefined)
  },
  tab: async ({ newTab }, use) => use(await newTab()),
})

/** WebKitGTK is a desktop browser that may be installed where it cannot start, so it does not have to. */
async function launch(engine: Engine): Promise<DrivenBrowser | string> {
  if (engine.name !== 'webkit') return engine.launch()
  try {
    return await engine.launch()
  } catch (error) {
    return `WebKitGTK does not start here: ${String(error)}`
  }
}
