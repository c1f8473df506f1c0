/** Issue 6, promises 2, 4 and 5: what is going on is said, cancel works in each phase, models on the disk, and the machine. */

import type { Page } from '@playwright/test'
import { expect, generate, model, nextEvent, openPage, test } from './ui/page-harness.js'

test('a download shows bytes in all and each file, and ends at once with Cancel, keeping what has come', async ({
  page,
  server,
}) => {
  server.setFaults({ bytesPerSecond: 200_000 })
  await openPage(page, server)
  await expect(page.getByText('Downloading', { exact: true }).first()).toBeVisible()
  await expect(page.getByText(/[\d.]+ of [\d.]+ [kM]B/).first()).toBeVisible()
  await page.getByText(/^\d+ files$/).click()
  await expect(page.getByText('unet/diffusion_pytorch_model-00001-of-00003.safetensors')).toBeVisible()
  expect(await stateAfterCancel(page)).toBe('idle')

  server.setFaults({})
  await generate(page, 'a red apple')
  const bytes = new Map<string, number>()
  for (const { kind, file, bytes: sent } of server.log) {
    if (kind === 'file' && file?.endsWith('.safetensors') === true) bytes.set(file, (bytes.get(file) ?? 0) + sent)
  }
  expect(bytes.size).toBeGreaterThan(3)
})

test('steps are counted with a preview, and Cancel ends them at once', async ({ page, server }) => {
  await openPage(page, server, { steps: '500' })
  await nextEvent(page, 'load')
  const stepped = nextEvent(page, 'step')
  await page.getByLabel('Prompt', { exact: true }).fill('a red apple')
  await page.getByRole('button', { name: 'Generate' }).click()
  await stepped
  // While it denoises, not afterwards.
  await expect(page.getByText(/^Denoising · step \d{1,2} of \d+$/).first()).toBeVisible()
  await expect(page.getByRole('img', { name: 'Preview' })).toBeVisible()
  await expect(page.getByRole('progressbar')).toHaveAttribute('aria-valuetext', /Denoising/)
  expect(await stateAfterCancel(page)).toBe('ready')
})

test('after Cancel the next picture is made', async ({ page, server }) => {
  await openPage(page, server, { steps: '500' })
  await nextEvent(page, 'load')
  const stepped = nextEvent(page, 'step')
  await page.getByRole('button', { name: 'Generate' }).click()
  await stepped
  await page.keyboard.press('Escape')
  await page.evaluate(() => {
    const box = document.querySelector('aquatint-prompt')
    if (box !== null) box.settings = { numInferenceSteps: 2 }
  })
  await generate(page, 'a red apple')
  await expect(page.getByRole('img', { name: 'a red apple' })).toBeVisible()
})

test('the models on the disk are listed, checked, and deleted', async ({ page, server }) => {
  await openPage(page, server)
  await generate(page, 'a red apple')
  await page.getByRole('button', { name: 'Models' }).click()
  const dialog = page.getByRole('dialog', { name: 'Models on this disk' })
  await expect(dialog.getByText(model, { exact: true })).toBeVisible()
  await expect(dialog.getByText(/MB · \d+ files · used .* · commit [0-9a-f]{8}/)).toBeVisible()
  await dialog.getByRole('button', { name: `Check ${model}` }).click()
  await expect(dialog.getByText(/all \d+ parts are what was downloaded/)).toBeVisible()
  await dialog.getByRole('button', { name: 'Close' }).click()

  // In use: nothing may go from under the box.
  await page.goto('/')
  await page.getByRole('button', { name: 'Models' }).click()
  await dialog.getByRole('button', { name: `Delete ${model}` }).click()
  await expect(dialog.getByText(/MB are free again/)).toBeVisible()
  await expect(dialog.getByText(model, { exact: true })).toBeHidden()
})

test('the machine is told as it is: a software adapter, and what works on it', async ({ page }) => {
  await page.goto('/')
  await expect(page.locator('[data-code="software-adapter"]')).toContainText(
    'The bundled model runs on the processor and works here.',
  )
  await page.getByRole('button', { name: 'This machine' }).click()
  await expect(page.getByRole('dialog').getByText('a software adapter')).toBeVisible()
})

test('a browser without WebGPU is told so, and pictures are made all the same', async ({ page, server }) => {
  await page.addInitScript(() => Object.defineProperty(Navigator.prototype, 'gpu', { get: () => undefined }))
  await openPage(page, server, { device: 'auto' })
  await expect(page.locator('[data-code="no-webgpu"]')).toBeVisible()
  await generate(page, 'a red apple')
  await expect(page.getByRole('img', { name: 'a red apple' })).toBeVisible()
})

test('without storage the page says so and works', async ({ page, server }) => {
  await page.addInitScript(() => {
    IDBFactory.prototype.open = () => {
      throw new DOMException('The user denied permission to access the database.', 'SecurityError')
    }
  })
  await openPage(page, server)
  await expect(page.locator('[data-code="no-storage"]')).toBeVisible()
  await generate(page, 'a red apple')
  await expect(page.getByRole('img', { name: 'a red apple' })).toBeVisible()
})

/** Presses Cancel; the state one turn of the page's event loop later, which no work of the worker's can delay. */
async function stateAfterCancel(page: Page): Promise<string> {
  return page.evaluate(async () => {
    const box = document.querySelector('aquatint-prompt')
    const button = box?.shadowRoot?.querySelector<HTMLButtonElement>('[part=cancel]')
    if (box === null || button === null || button === undefined) throw new Error('no Cancel')
    button.click()
    await new Promise((resolve) => setTimeout(resolve, 0))
    return box.state
  })
}
