/**
 * A phone: 360 × 640 pixels with touch, 4 GB of memory, a processor a quarter as fast, and WebAssembly that may hold 256 MiB. The page is used
 * with taps alone.
 */

import { chromiumLaunchOptions } from '../scripts/chromium.mjs'
import { expect, nextEvent, overflow, test } from './ui/page-harness.js'

const { args, ...launch } = chromiumLaunchOptions()
/** In pages of 64 KiB. */
const pages = 4096

test.use({
  viewport: { width: 360, height: 640 },
  hasTouch: true,
  isMobile: true,
  launchOptions: { ...launch, args: [...args, `--js-flags=--wasm-tiering-budget=200000000 --wasm-max-mem-pages=${pages}`] },
})

test.beforeEach(async ({ page, context }) => {
  await page.addInitScript(() => Object.defineProperty(Navigator.prototype, 'deviceMemory', { get: () => 4 }))
  const session = await context.newCDPSession(page)
  await session.send('Emulation.setCPUThrottlingRate', { rate: 4 })
})

test('the bundled model makes a picture by taps alone: every control is high enough for a finger, and nothing is wider than the window', async ({
  page,
}) => {
  await page.goto('/?steps=2&seed=7')
  // The limit is enforced.
  const allocated = await page.evaluate((initial) => {
    try {
      return new WebAssembly.Memory({ initial }).buffer.byteLength
    } catch {
      return 0
    }
  }, pages + 1)
  expect(allocated).toBe(0)
  await expect(page.locator('[data-code="little-memory"]')).toContainText('4 GB of memory')

  const run = page.getByRole('button', { name: 'Generate' })
  await page.getByLabel('Prompt', { exact: true }).tap()
  await page.keyboard.type('a red apple')
  const made = nextEvent(page, 'image')
  await run.tap()
  await made
  const picture = page.getByRole('button', { name: 'Open: a red apple' })
  await expect(picture).toBeVisible()
  expect(await overflow(page)).toBeLessThanOrEqual(0)
  for (const control of [
    run,
    page.getByRole('button', { name: 'Save PNG' }),
    page.getByRole('button', { name: 'Models' }),
    picture,
  ]) {
    const box = await control.boundingBox()
    expect(box?.height).toBeGreaterThanOrEqual(44)
    expect(box?.x).toBeGreaterThanOrEqual(0)
    expect((box?.x ?? 0) + (box?.width ?? 0)).toBeLessThanOrEqual(360)
  }

  await picture.tap()
  const dialog = page.getByRole('dialog', { name: 'Picture' })
  await expect(dialog.getByRole('img')).toBeVisible()
  expect(await overflow(page)).toBeLessThanOrEqual(0)
  await dialog.getByRole('button', { name: 'Close' }).tap()
  await expect(dialog).toBeHidden()
})
