/** Every state of the page is accessible, in light and dark, from 360 pixels up, and works by keyboard alone. */

import type { Page } from '@playwright/test'
import { expect, generate, modelReady, nextEvent, openPage, overflow, state, test, violations } from './ui/page-harness.js'

/** Checks that axe finds no violation in light, in dark and at 360 pixels, and that nothing is wider than that window. */
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

test('axe finds nothing, in light, in dark and at 360 pixels, before a picture is made', async ({ page, server }) => {
  await test.step('idle', async () => {
    await page.goto('/')
    await expectAccessible(page)
  })
  await test.step('the machine', async () => {
    await page.getByRole('button', { name: 'This machine' }).click()
    await expect(page.getByRole('dialog', { name: 'This machine' })).toBeVisible()
    await expectAccessible(page)
  })
  await test.step('settings open, with a wrong value', async () => {
    await page.goto('/?model=a/b')
    await page.getByText('Settings', { exact: true }).click()
    await page.getByLabel('Width').fill('13')
    await page.getByLabel('Prompt', { exact: true }).fill('a boat')
    await page.getByRole('button', { name: 'Generate' }).click()
    await expect(page.getByText('Width must be a multiple of 8').first()).toBeVisible()
    await expectAccessible(page)
  })
  await test.step('a picture to start from', async () => {
    await page.goto('/?model=a/b')
    await page.locator('input[type=file][accept="image/*"]:not([multiple])').setInputFiles('public/icons/icon-192.png')
    await expect(page.getByRole('slider')).toBeVisible()
    await expectAccessible(page)
  })
  await test.step('failed', async () => {
    await openPage(page, server, { model: 'nobody/nothing' })
    await expect(page.getByText('The model could not be downloaded')).toBeVisible()
    await expectAccessible(page)
  })
  await test.step('downloading, with the files open', async () => {
    server.setFaults({ bytesPerSecond: 2000 })
    await openPage(page, server)
    await expect(page.getByText(/^\d+ files$/)).toBeVisible()
    await page.getByText(/^\d+ files$/).click()
    await expectAccessible(page)
    expect(await state(page)).toBe('loading')
  })
})

test('the keyboard alone generates: Tab reaches the prompt, Ctrl-Enter runs, Esc cancels and keeps the focus; the focus also stays when Generate becomes Cancel; axe finds nothing while a picture is made', async ({
  page,
  server,
}) => {
  await openPage(page, server, { steps: '900' })
  await modelReady(page)
  await expect(page.getByText('Ctrl-Enter generates, Esc cancels')).toBeVisible()
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

  await test.step('axe finds nothing, in light, in dark and at 360 pixels: denoising, with a preview', async () => {
    const steppedLast = nextEvent(page, 'step')
    await page.getByRole('button', { name: 'Generate' }).click()
    await steppedLast
    await expectAccessible(page)
    expect(await state(page)).toBe('generating')
  })
})

test('axe finds nothing once pictures are made; the prompt does not jump while one is made; the keyboard opens and closes the panels and the gallery, and the focus stays inside', async ({
  page,
  server,
}) => {
  await openPage(page, server, { count: '2' })
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
  const open = page.getByRole('button', { name: 'Open: a red apple' }).first()
  // The gallery stores pictures asynchronously.
  await expect(page.getByRole('checkbox')).toHaveCount(2)
  await test.step('made', () => expectAccessible(page))
  await open.click()
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
  await page.keyboard.press('Escape')

  for (const [opener, title] of [
    [page.getByRole('button', { name: 'Models' }), 'Downloaded models'],
    [page.getByRole('button', { name: 'This machine' }), 'This machine'],
    [open, 'Picture'],
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

/** Records the layout shifts of the page. Delays the adapter, so that the notes about the machine appear late, as on a slow machine. */
function recordShifts(): void {
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
  const request = navigator.gpu.requestAdapter.bind(navigator.gpu)
  navigator.gpu.requestAdapter = async (options) => {
    await new Promise((resolve) => setTimeout(resolve, 500))
    return request(options)
  }
}

test('nothing jumps through two pictures, and nothing is wider than the window', async ({ page, server }) => {
  await page.emulateMedia({ reducedMotion: 'no-preference' })
  await page.addInitScript(recordShifts)
  const session = await page.context().newCDPSession(page)
  for (const [name, width, height] of [
    ['a phone', 360, 740],
    ['a tablet', 820, 1180],
    ['a laptop', 1280, 900],
    ['4K', 3840, 2160],
  ] as const) {
    await test.step(name, async () => {
      await page.setViewportSize({ width, height })
      await openPage(page, server)
      await expect(page.locator('#notes > *').first()).toBeVisible()
      await modelReady(page)
      await generate(page, 'a red apple')
      await expect(page.getByRole('button', { name: 'Open: a red apple' })).toBeVisible()
      await generate(page, 'a blue boat')
      await expect(page.getByRole('button', { name: 'Open: a blue boat' })).toBeVisible()
      const shifts = await page.evaluate(() => Reflect.get(window, 'shifts') as { value: number; what: string }[])
      // A button whose width changes moves its text. This is a layout shift of up to 0.001, a hundredth of what counts as good, so it is
      // allowed.
      expect(shifts.filter(({ value }) => value > 0.001)).toEqual([])
      expect(await overflow(page)).toBeLessThanOrEqual(0)
      // The storage is cleared, so the next visit finds neither pictures nor models.
      const { origin } = new URL(page.url())
      await page.goto('about:blank')
      await session.send('Storage.clearDataForOrigin', { origin, storageTypes: 'indexeddb' })
    })
  }
})
