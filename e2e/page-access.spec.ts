/** Issue 6, promise 6: every state of the page is accessible, in light and dark, from 360 pixels up, and works by keyboard alone. */

import type { Page } from '@playwright/test'
import type { HubServer } from './hub-server/types.js'
import { expect, generate, nextEvent, openPage, overflow, state, test, violations } from './ui/page-harness.js'

interface State {
  readonly name: string
  readonly reach: (page: Page, server: HubServer) => Promise<void>
}

const states: readonly State[] = [
  { name: 'idle', reach: (page) => page.goto('/').then(() => undefined) },
  {
    name: 'settings open, with a wrong value',
    reach: async (page) => {
      await page.goto('/?model=a/b')
      await page.getByText('Settings', { exact: true }).click()
      await page.getByLabel('Width').fill('13')
      await page.getByRole('button', { name: 'Generate' }).click()
      await expect(page.getByText('Width must be a multiple of 8.')).toBeVisible()
    },
  },
  {
    name: 'downloading, with the files open',
    reach: async (page, server) => {
      server.setFaults({ bytesPerSecond: 20_000 })
      await openPage(page, server)
      await expect(page.getByText(/^\d+ files$/)).toBeVisible()
      await page.getByText(/^\d+ files$/).click()
    },
  },
  {
    name: 'a picture made',
    reach: async (page, server) => {
      await openPage(page, server, { count: '2' })
      await generate(page, 'a red apple')
    },
  },
  {
    name: 'failed',
    reach: async (page, server) => {
      await openPage(page, server, { model: 'nobody/nothing' })
      await expect(page.getByText('The model could not be fetched')).toBeVisible()
    },
  },
  {
    name: 'a picture opened',
    reach: async (page, server) => {
      await openPage(page, server)
      await generate(page, 'a red apple')
      await page.getByRole('button', { name: 'Open: a red apple' }).click()
    },
  },
  {
    name: 'two pictures compared',
    reach: async (page, server) => {
      await openPage(page, server, { count: '2' })
      await generate(page, 'a red apple')
      // The gallery keeps pictures in its own time.
      await expect(page.getByRole('checkbox')).toHaveCount(2)
      for (const box of await page.getByRole('checkbox').all()) await box.check()
      await page.getByRole('button', { name: 'Compare two' }).click()
    },
  },
  {
    name: 'the models',
    reach: async (page, server) => {
      await openPage(page, server)
      await generate(page, 'a red apple')
      await page.getByRole('button', { name: 'Models' }).click()
      await expect(page.getByRole('button', { name: /^Delete / })).toBeVisible()
    },
  },
  { name: 'the machine', reach: (page) => page.goto('/').then(() => page.getByRole('button', { name: 'This machine' }).click()) },
]

for (const { name, reach } of states) {
  test(`axe finds nothing, in light, in dark and at 360 pixels: ${name}`, async ({ page, server }) => {
    await page.emulateMedia({ colorScheme: 'light', reducedMotion: 'reduce' })
    await reach(page, server)
    expect(await violations(page)).toEqual([])
    await page.emulateMedia({ colorScheme: 'dark' })
    expect(await violations(page)).toEqual([])
    await page.setViewportSize({ width: 360, height: 740 })
    expect(await violations(page)).toEqual([])
    expect(await overflow(page)).toBeLessThanOrEqual(0)
  })
}

test('a picture by keyboard alone: Tab to the prompt, Ctrl-Enter runs, Esc cancels and keeps the focus', async ({
  page,
  server,
}) => {
  await openPage(page, server, { steps: '500' })
  await nextEvent(page, 'load')
  const focused = () => page.evaluate(() => document.activeElement?.shadowRoot?.activeElement?.id ?? document.activeElement?.id)
  for (let presses = 0; presses < 12 && (await focused()) !== 'prompt'; presses++) await page.keyboard.press('Tab')
  expect(await focused()).toBe('prompt')
  await page.keyboard.type('a red apple')
  const stepped = nextEvent(page, 'step')
  await page.keyboard.press('Control+Enter')
  await stepped
  await page.keyboard.press('Escape')
  await expect(page.getByText('Cancelled', { exact: true }).first()).toBeVisible()
  expect(await state(page)).toBe('ready')
  expect(await focused()).toBe('prompt')
})

test('the focus is not lost when Generate becomes Cancel', async ({ page, server }) => {
  await openPage(page, server, { steps: '500' })
  await nextEvent(page, 'load')
  const stepped = nextEvent(page, 'step')
  await page.getByRole('button', { name: 'Generate' }).focus()
  await page.keyboard.press('Enter')
  await stepped
  await expect(page.getByRole('button', { name: 'Cancel' })).toBeFocused()
  await page.keyboard.press('Enter')
  await expect(page.getByRole('button', { name: 'Generate' })).toBeFocused()
})

test('the prompt does not jump while things happen', async ({ page, server }) => {
  await openPage(page, server)
  await page.evaluate(() => document.fonts.ready)
  const place = () =>
    page.evaluate(() => {
      const buttons = document.querySelector('aquatint-prompt')?.shadowRoot?.querySelector('.buttons')
      return (buttons?.getBoundingClientRect().top ?? NaN) + window.scrollY
    })
  await expect(page.locator('#notes > *').first()).toBeVisible()
  const before = await place()
  await generate(page, 'a red apple')
  expect(await place()).toBe(before)
})
