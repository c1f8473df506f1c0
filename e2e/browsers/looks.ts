/**
 * How a page looks in any browser: its colours, whether it fits its window, and a screenshot of each main state in test-results/browsers, from
 * which `npm run docs:browsers` makes the pictures side by side in docs/screenshots.
 */

import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Tab } from './drivers/types.js'
import { expect } from '@playwright/test'
import { click, polling } from './elements.js'

/** The windows of the screenshots, in CSS pixels. */
export const windows = { wide: { width: 1280, height: 900 }, narrow: { width: 360, height: 640 } } as const

/** The colours of docs/embedding.md: the paper, the ink, the button and its label. */
export const colours = {
  light: { paper: 'rgb(246, 241, 231)', ink: 'rgb(28, 29, 34)', run: 'rgb(143, 71, 32)', label: 'rgb(255, 249, 241)' },
  dark: { paper: 'rgb(22, 23, 26)', ink: 'rgb(236, 229, 216)', run: 'rgb(227, 154, 107)', label: 'rgb(29, 18, 10)' },
} as const

/** Measures how the page looks: its colours, and whether it is wider than its window. */
export function looks(tab: Tab) {
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

/** Writes a screenshot of the top of the page, or of what is around a part of the prompt box. */
export async function keepScreenshot(tab: Tab, engine: string, name: string, part?: string): Promise<void> {
  const folder = join('test-results/browsers', engine)
  mkdirSync(folder, { recursive: true })
  await tab.evaluate(async (selector) => {
    const root = document.querySelector('aquatint-prompt')?.shadowRoot
    // Wait until the page no longer scrolls: Firefox may still be scrolling to the field that was filled. Wait by a timer, not for a frame:
    // a browser may paint no frame if nothing changes.
    let place = -1
    for (let turn = 0; turn < 20 && place !== scrollY; turn++) {
      window.scrollTo({ top: 0, behavior: 'instant' })
      if (selector !== null) root?.querySelector(selector)?.scrollIntoView({ block: 'center', behavior: 'instant' })
      place = scrollY
      await new Promise((resolve) => setTimeout(resolve, 70))
    }
  }, part ?? null)
  const png = await tab.screenshot()
  expect(Buffer.from(png.subarray(1, 4)).toString()).toBe('PNG')
  writeFileSync(join(folder, `${name}.png`), png)
}

/** Chooses a theme with the page's own button. */
export async function chooseTheme(tab: Tab, theme: 'light' | 'dark'): Promise<void> {
  await expect
    .poll(async () => {
      const label = await tab.evaluate(() => document.querySelector('#theme')?.getAttribute('aria-label'), null)
      if (label !== `Theme: ${theme}`) await click(tab, '#theme')
      return label
    }, polling)
    .toBe(`Theme: ${theme}`)
}
