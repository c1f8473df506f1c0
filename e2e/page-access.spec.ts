/** Every state of the page is accessible, in light and dark, from 360 pixels up, and works by keyboard alone. */

import type { Page } from '@playwright/test'
import type { HubServer } from './hub-server/types.js'
import { expect, generate, modelReady, nextEvent, openPage, overflow, state, test, violations } from './ui/page-harness.js'

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
      await page.getByLabel('Prompt', { exact: true }).fill('a boat')
      await page.getByRole('button', { name: 'Generate' }).click()
      await expect(page.getByText('Width must be a multiple of 8').first()).toBeVisible()
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
    name: 'denoising, with a preview',
    reach: async (page, server) => {
      await openPage(page, server, { steps: '500' })
      await modelReady(page)
      const stepped = nextEvent(page, 'step')
      await page.getByRole('button', { name: 'Generate' }).click()
      await stepped
    },
  },
  {
    name: 'a picture to start from',
    reach: async (page) => {
      await page.goto('/?model=a/b')
      await page.locator('input[type=file][accept="image/*"]:not([multiple])').setInputFiles('public/icons/icon-192.png')
      await expect(page.getByRole('slider')).toBeVisible()
    },
  },
  {
    name: 'failed',
    reach: async (page, server) => {
      await openPage(page, server, { model: 'nobody/nothing' })
      await expect(page.getByText('The model could not be downloaded')).toBeVisible()
    },
  },
  { name: 'the machine', reach: (page) => page.goto('/').then(() => page.getByRole('button', { name: 'This machine' }).click()) },
]

/** Axe finds nothing, in light, in dark and at 360 pixels, where nothing is wider than the window. */
async function expectAccessible(page: Page): Promise<void> {
  const window = page.viewportSize()
  await page.emulateMedia({ colorScheme: 'light', reducedMotion: 'reduce' })
  expect(await violations(page)).toEqual([])
  await page.emulateMedia({ colorScheme: 'dark', reducedMotion: 'reduce' })
  expect(await violations(page)).toEqual([])
  await page.setViewportSize({ width: 360, height: 740 })
  expect(await violations(page)).toEqual([])
  expect(await overflow(page)).toBeLessThanOrEqual(0)
  if (window !== null) await page.setViewportSize(window)
}

for (const { name, reach } of states) {
  test(`axe finds nothing, in light, in dark and at 360 pixels: ${name}`, async ({ page, server }) => {
    await reach(page, server)
    await expectAccessible(page)
  })
}

test('axe finds nothing, in light, in dark and at 360 pixels: pictures made, opened, compared, and the models', async ({
  page,
  server,
}) => {
  await openPage(page, server, { count: '2' })
  await generate(page, 'a red apple')
  // The gallery stores pictures asynchronously.
  await expect(page.getByRole('checkbox')).toHaveCount(2)
  await test.step('made', () => expectAccessible(page))
  await page.getByRole('button', { name: 'Open: a red apple' }).first().click()
  await expect(page.getByRole('dialog', { name: 'Picture' })).toBeVisible()
  await test.step('opened', () => expectAccessible(page))
  await page.keyboard.press('Escape')
  for (const box of await page.getByRole('checkbox').all()) await box.check()
  await page.getByRole('button', { name: 'Compare two' }).click()
  await expect(page.getByRole('dialog')).toBeVisible()
  await test.step('compared', () => expectAccessible(page))
  await page.keyboard.press('Escape')
  await page.getByRole('button', { name: 'Models' }).click()
  await expect(page.getByRole('button', { name: /^Delete / })).toBeVisible()
  await test.step('the models', () => expectAccessible(page))
})

test('the keyboard alone generates: Tab reaches the prompt, Ctrl-Enter runs, Esc cancels and keeps the focus; Generate that becomes Cancel keeps it too', async ({
  page,
  server,
}) => {
  await openPage(page, server, { steps: '500' })
  await modelReady(page)
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

  const steppedAgain = nextEvent(page, 'step')
  await page.getByRole('button', { name: 'Generate' }).focus()
  await page.keyboard.press('Enter')
  await steppedAgain
  await expect(page.getByRole('button', { name: 'Cancel' })).toBeFocused()
  await page.keyboard.press('Enter')
  await expect(page.getByRole('button', { name: 'Generate' })).toBeFocused()
})

test('the prompt does not jump while a picture is made; the panels and the gallery work by keyboard: Enter opens them, the focus stays inside, Esc closes them and restores the focus', async ({
  page,
  server,
}) => {
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
  for (const [opener, title] of [
    [page.getByRole('button', { name: 'Models' }), 'Downloaded models'],
    [page.getByRole('button', { name: 'This machine' }), 'This machine'],
    [page.getByRole('button', { name: 'Open: a red apple' }), 'Picture'],
  ] as const) {
    await opener.focus()
    await page.keyboard.press('Enter')
    const dialog = page.getByRole('dialog', { name: title })
    await expect(dialog).toBeVisible()
    for (let presses = 0; presses < 12; presses++) {
      await page.keyboard.press('Tab')
      // While the focus is on the controls of the browser, the active element is the body.
      expect(
        await page.evaluate(() => document.activeElement?.closest('dialog') !== null || document.activeElement === document.body),
      ).toBe(true)
    }
    await page.keyboard.press('Escape')
    await expect(dialog).toBeHidden()
    await expect(opener).toBeFocused()
  }
})

test('nothing is animated for users who prefer reduced motion', async ({ page, server }) => {
  const moving = () =>
    page.evaluate(() => {
      const root = document.querySelector('aquatint-prompt')?.shadowRoot
      return [...document.getAnimations(), ...(root?.getAnimations() ?? [])].filter(({ playState }) => playState === 'running')
        .length
    })
  server.setFaults({ latencyMs: 86_400_000 })
  await page.emulateMedia({ reducedMotion: 'no-preference' })
  await openPage(page, server)
  await expect(page.getByText('Looking up the model', { exact: true }).first()).toBeVisible()
  await expect.poll(moving).toBeGreaterThan(0)
  await page.emulateMedia({ reducedMotion: 'reduce' })
  await expect.poll(moving).toBe(0)
})

for (const [name, width, height] of [
  ['a phone', 360, 740],
  ['a tablet', 820, 1180],
  ['a laptop', 1280, 900],
  ['4K', 3840, 2160],
] as const) {
  test(`nothing jumps through two pictures, and nothing is wider than the window: ${name}`, async ({ page, server }) => {
    await page.setViewportSize({ width, height })
    await page.emulateMedia({ reducedMotion: 'no-preference' })
    await page.addInitScript(() => {
      const shifts: { value: number; what: string }[] = []
      Object.assign(window, { shifts })
      interface Shift extends PerformanceEntry {
        readonly value: number
        readonly sources: readonly { readonly node: Element | null }[]
      }
      new PerformanceObserver((list) => {
        for (const { value, sources } of list.getEntries() as Shift[])
          shifts.push({ value, what: sources.map(({ node }) => `${node?.nodeName ?? ''} ${node?.className ?? ''}`).join() })
      }).observe({ type: 'layout-shift', buffered: true })
      // The notes about the machine arrive late, as on a slow machine.
      const request = navigator.gpu.requestAdapter.bind(navigator.gpu)
      navigator.gpu.requestAdapter = async (options) => {
        await new Promise((resolve) => setTimeout(resolve, 500))
        return request(options)
      }
    })
    await openPage(page, server)
    await expect(page.locator('#notes > *').first()).toBeVisible()
    await page.waitForFunction(() => document.querySelector('aquatint-prompt')?.state === 'ready')
    await generate(page, 'a red apple')
    await expect(page.getByRole('button', { name: 'Open: a red apple' })).toBeVisible()
    await generate(page, 'a blue boat')
    await expect(page.getByRole('button', { name: 'Open: a blue boat' })).toBeVisible()
    const shifts = await page.evaluate(() => Reflect.get(window, 'shifts') as { value: number; what: string }[])
    // Only the text of a button whose width changes may move: a hundredth of the layout shift that counts as good.
    expect(shifts.filter(({ value }) => value > 0.001)).toEqual([])
    expect(await overflow(page)).toBeLessThanOrEqual(0)
  })
}
