/**
 * The colours and the layout of the page's main states in every browser, light, dark and at 360 pixels. Each state leaves a screenshot in
 * test-results/browsers, from which `npm run docs:browsers` makes the pictures side by side in docs/screenshots.
 */

import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { HubServer } from '../hub-server/types.js'
import type { Tab } from './drivers/types.js'
import { click, fill, generate, see } from './elements.js'
import { expect, model, test } from './harness.js'

const wide = { width: 1280, height: 900 }
const narrow = { width: 360, height: 640 }
const prompt = 'a red apple'

/** The colours of docs/embedding.md: the paper, the ink, the button and its label. */
const colours = {
  light: { paper: 'rgb(246, 241, 231)', ink: 'rgb(28, 29, 34)', run: 'rgb(143, 71, 32)', label: 'rgb(255, 249, 241)' },
  dark: { paper: 'rgb(22, 23, 26)', ink: 'rgb(236, 229, 216)', run: 'rgb(227, 154, 107)', label: 'rgb(29, 18, 10)' },
} as const

function address(site: string, server: HubServer, more: Readonly<Record<string, string>> = {}): string {
  const settings = { model, endpoint: server.url, device: 'wasm', steps: '2', width: '64', height: '64', seed: '7' }
  return `${site}/?${new URLSearchParams({ ...settings, ...more }).toString()}`
}

/** What the page looks like: colours, and whether it is wider than its window. */
function looks(tab: Tab) {
  return tab.evaluate(() => {
    const run = document.querySelector('aquatint-prompt')?.shadowRoot?.querySelector('[part=run]')
    if (run === null || run === undefined) throw new Error('The page has no prompt box')
    const [page, button] = [getComputedStyle(document.documentElement), getComputedStyle(run)]
    return {
      paper: page.backgroundColor,
      ink: page.color,
      run: button.backgroundColor,
      label: button.color,
      overflow: Math.max(0, document.documentElement.scrollWidth - document.documentElement.clientWidth),
    }
  }, null)
}

async function keepScreenshot(tab: Tab, engine: string, name: string): Promise<void> {
  const folder = join('test-results/browsers', engine)
  mkdirSync(folder, { recursive: true })
  await tab.evaluate(async () => {
    window.scrollTo({ top: 0, behavior: 'instant' })
    // The screenshot shows what was painted last.
    for (let frames = 0; frames < 2; frames++) await new Promise((resolve) => requestAnimationFrame(resolve))
  }, null)
  const png = await tab.screenshot()
  expect(Buffer.from(png.subarray(1, 4)).toString()).toBe('PNG')
  writeFileSync(join(folder, `${name}.png`), png)
}

/** Chooses a theme with the page's own button. */
async function chooseTheme(tab: Tab, theme: 'light' | 'dark'): Promise<void> {
  await expect
    .poll(async () => {
      const label = await tab.evaluate(() => document.querySelector('#theme')?.getAttribute('aria-label'), null)
      if (label !== `Theme: ${theme}`) await click(tab, '#theme')
      return label
    })
    .toBe(`Theme: ${theme}`)
}

test('the page has its colours and fits its window: before and after a picture, in dark, and at 360 pixels', async ({
  engineName,
  tab,
  site,
  server,
}) => {
  await tab.setViewportSize(wide)
  await tab.goto(address(site, server))
  await chooseTheme(tab, 'light')
  await fill(tab, 'textarea#prompt', prompt)
  await see(tab, '.headline', 'Ready')
  expect(await looks(tab)).toEqual({ ...colours.light, overflow: 0 })
  await keepScreenshot(tab, engineName, 'idle')

  await generate(tab, prompt)
  const print = `button[aria-label="Open: ${prompt}"]`
  await see(tab, print)
  expect(await looks(tab)).toEqual({ ...colours.light, overflow: 0 })
  await keepScreenshot(tab, engineName, 'done')
  await chooseTheme(tab, 'dark')
  expect(await looks(tab)).toEqual({ ...colours.dark, overflow: 0 })
  await keepScreenshot(tab, engineName, 'done-dark')

  // The gallery and the theme are those of the visit before.
  await tab.setViewportSize(narrow)
  await tab.reload()
  await see(tab, print)
  await see(tab, '.headline', 'Ready')
  expect(await looks(tab)).toEqual({ ...colours.dark, overflow: 0 })
  await fill(tab, 'textarea#prompt', prompt)
  await keepScreenshot(tab, engineName, 'idle-360')
  // A finger needs a height of 44 pixels.
  for (const button of ['[part=run]', '#theme', '#open-models']) {
    const { width, height } = await see(tab, button)
    expect(height, button).toBeGreaterThanOrEqual(44)
    expect(width, button).toBeGreaterThanOrEqual(24)
  }
})

test('the settings, an error and the panel about the machine fit their windows', async ({ engineName, tab, site, server }) => {
  await tab.setViewportSize(wide)
  await tab.goto(address(site, server, { model: 'nobody/nothing' }))
  await see(tab, '*', 'The model could not be downloaded')
  expect((await looks(tab)).overflow).toBe(0)
  await keepScreenshot(tab, engineName, 'error')
  await click(tab, '.settings > summary')
  await see(tab, '#scheduler')
  expect((await looks(tab)).overflow).toBe(0)
  await keepScreenshot(tab, engineName, 'settings')
  await click(tab, '#open-machine')
  await see(tab, 'dialog h2', 'This machine')
  expect((await looks(tab)).overflow).toBe(0)
  await keepScreenshot(tab, engineName, 'machine')
})
