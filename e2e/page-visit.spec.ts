/** What a visit keeps, and the layout of the page: two tabs, a reload, the skip link, narrow windows, notes about the machine. */

import { expect, generate, test } from './ui/page-harness.js'

test('galleries of two tabs follow each other, with the names of the list, and a reload keeps the fields', async ({
  page,
  context,
}) => {
  const problems: string[] = []
  page.on('console', (message) => {
    if (message.type() === 'error') problems.push(message.text())
  })
  const other = await context.newPage()
  for (const tab of [page, other]) await tab.goto('/?device=wasm&width=64&height=64')
  await page.bringToFront()

  // The skip link moves the focus.
  await page.locator('#skip').focus()
  await page.keyboard.press('Enter')
  await expect(page.getByLabel('Prompt', { exact: true })).toBeFocused()
  await page.getByText('Settings', { exact: true }).click()
  await page.getByLabel('Steps').fill('1')
  await generate(page, 'a red apple 🍎')
  const picture = (tab: typeof page) => tab.getByRole('button', { name: 'Open: a red apple 🍎' })
  await expect(picture(other)).toBeVisible()
  await picture(other).click()
  await expect(other.locator('dialog dd').filter({ hasText: /^Emoji$/ })).toBeVisible()
  await other.getByRole('button', { name: 'Delete' }).click()
  await expect(picture(page)).toHaveCount(0)

  await page.getByLabel('Prompt', { exact: true }).fill('a boat 🚤')
  await page.getByLabel('Seed').fill('77')
  await page.reload()
  await expect(page.getByLabel('Prompt', { exact: true })).toHaveValue('a boat 🚤')
  await expect(page.getByLabel('Steps')).toHaveValue('1')
  await expect(page.getByLabel('Seed')).toHaveValue('77')
  // A link that is opened again has the settings of the link, not those that were typed before.
  await page.goto('/?prompt=a%20fox')
  await expect(page.getByLabel('Prompt', { exact: true })).toHaveValue('a fox')
  await expect(page.getByLabel('Seed')).toHaveValue('')
  // No request failed: the page does not request files that may be missing.
  expect(problems).toEqual([])

  // The prompt field's `font-family` includes a font for emoji.
  await expect(page.getByLabel('Prompt', { exact: true })).toHaveCSS('font-family', /'?Noto Color Emoji/)
})

test('the layout is right from 360 pixels up: the navigation, the summary, the start picture, notes about the machine; the lists of the form at 320 pixels', async ({
  page,
}) => {
  // The page shows three urgent notes.
  await page.addInitScript(() => {
    Object.defineProperty(Navigator.prototype, 'deviceMemory', { get: () => 2 })
    Object.defineProperty(Navigator.prototype, 'gpu', { get: () => undefined })
    IDBFactory.prototype.open = () => {
      throw new DOMException('Denied.', 'SecurityError')
    }
  })
  const at = (selector: string) =>
    page.evaluate((wanted) => {
      const root = document.querySelector('aquatint-prompt')?.shadowRoot
      const { top, bottom, left, right } =
        (document.querySelector(wanted) ?? root?.querySelector(wanted))?.getBoundingClientRect() ?? {}
      return { top: top ?? NaN, bottom: bottom ?? NaN, left: left ?? NaN, right: right ?? NaN }
    }, selector)
  for (const width of [360, 736, 1024, 1280, 1920]) {
    await page.setViewportSize({ width, height: 900 })
    await page.goto('/?seed=9007199254740991&width=8192&height=8192&steps=10000&guidance=-10000')
    await page.locator('#notes [data-code="no-storage"]').waitFor({ state: 'attached' })
    await expect(page.locator('#notes > *')).toHaveCount(3)
    const [withNotes, brand, nav, summary, start, hint] = [
      await at('#prompt'),
      await at('.brand'),
      await at('nav'),
      await at('.summary-text'),
      await at('.start-empty'),
      await at('.start-empty .note'),
    ]
    // The navigation is on one line with the brand.
    expect(nav.top, `navigation at ${width}`).toBeLessThan(brand.bottom)
    // All of the summary is visible.
    expect(
      await page.locator('aquatint-prompt .summary-text').evaluate((text) => text.scrollWidth - text.clientWidth),
    ).toBeLessThanOrEqual(0)
    expect(summary.right).toBeLessThanOrEqual(start.right)
    // The hint keeps its distance from the border, wrapped or not.
    expect(hint.left - start.left).toBeGreaterThanOrEqual(12)
    expect(start.bottom - hint.bottom).toBeGreaterThanOrEqual(6)
    // The drawing stays in its frame in a low window, too.
    await page.setViewportSize({ width, height: 600 })
    expect((await at('.drawing')).bottom).toBeLessThanOrEqual((await at('.frame')).bottom)
    // The notes do not move the form, and cover neither the navigation nor the form.
    const notes = await at('#notes')
    await page.locator('#notes').evaluate((element) => element.replaceChildren())
    expect((await at('#prompt')).top, `form at ${width}`).toBe(withNotes.top)
    expect(notes.top >= nav.bottom || notes.left >= nav.right, `notes at ${width}`).toBe(true)
  }

  // At 320 pixels, no list truncates the entry that it shows at first, and the list of models truncates no entry.
  await page.setViewportSize({ width: 320, height: 640 })
  await page.locator('aquatint-prompt .settings > summary').click()
  const lists = page.locator('aquatint-prompt select:visible')
  const cut = await lists.evaluateAll((selects) =>
    selects.flatMap((select) => {
      if (!(select instanceof HTMLSelectElement)) return []
      const { font, paddingLeft, paddingRight } = getComputedStyle(select)
      const space = select.clientWidth - Number.parseFloat(paddingLeft) - Number.parseFloat(paddingRight)
      const context = document.createElement('canvas').getContext('2d')
      if (context === null) throw new TypeError('There is no canvas')
      context.font = font
      const shown = select.id === 'model-select' ? [...select.options] : [...select.options].slice(0, 1)
      return shown.map(({ label }) => label).filter((label) => context.measureText(label).width > space)
    }),
  )
  expect(cut).toEqual([])
  expect(await lists.count()).toBeGreaterThan(3)
})
