/**
 * A phone: 360 × 640 pixels with touch, 4 GB of memory, a processor a quarter as fast, and WebAssembly memories of at most 256 MiB. The
 * page is used with taps alone.
 */

import { readFileSync } from 'node:fs'
import type { Page } from '@playwright/test'
import { chromiumLaunchOptions } from '../scripts/chromium.mjs'
import { dropFile, expect, model, nextEvent, overflow, test } from './ui/page-harness.js'
import { smallTargets } from './ui/touch-targets.js'
import type * as Aquatint from '../src/index.js'

const { args, ...launch } = chromiumLaunchOptions()
/** The largest size of a WebAssembly memory, in pages of 64 KiB. */
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

/**
 * Counts the engine's workers and the bytes of the GPU buffers that they create. After a message on the channel `gpu-loss`, a device is
 * lost when it creates its next buffer.
 */
async function countGpuBytes(page: Page): Promise<() => Promise<{ readonly workers: number; readonly bytes: number }>> {
  await page.addInitScript(() => {
    const counted = { workers: 0, bytes: 0 }
    Object.assign(globalThis, { counted })
    new BroadcastChannel('gpu-bytes').addEventListener('message', ({ data }) => (counted.bytes += Number(data)))
    const kind = { type: 'text/javascript' }
    const asScript = (text: string) => URL.createObjectURL(new Blob([text], kind))
    const count = asScript(`
      const told = new BroadcastChannel('gpu-bytes'), { createBuffer } = GPUDevice.prototype
      let loses = false
      new BroadcastChannel('gpu-loss').addEventListener('message', () => (loses = true))
      GPUDevice.prototype.createBuffer = function (given) {
        told.postMessage(given.size)
        if (loses) this.destroy()
        return createBuffer.call(this, given)
      }
    `)
    const { Worker } = window
    window.Worker = class extends Worker {
      constructor(url: string | URL, options?: WorkerOptions) {
        const { href } = new URL(url, location.href)
        const isEngine = href.includes('engine.worker')
        super(isEngine ? asScript(`import '${count}'\nimport '${href}'`) : url, options)
        if (isEngine) counted.workers++
      }
    }
  })
  return () => page.evaluate(() => (globalThis as unknown as { counted: { workers: number; bytes: number } }).counted)
}

/** Opens or closes the details that a summary belongs to. */
async function toggle(page: Page, text: string | RegExp): Promise<void> {
  await page.locator('summary').filter({ hasText: text }).first().tap()
}

/** Nothing is wider than the window, and every control that is visible is large enough for a finger. */
async function fitsAFinger(page: Page): Promise<void> {
  expect(await smallTargets(page)).toEqual([])
  expect(await overflow(page)).toBeLessThanOrEqual(0)
}

test('the bundled model makes a picture by taps alone, in the memory that was planned: every control of each state is large enough for a finger', async ({
  page,
  server,
}) => {
  const gpuBytes = await countGpuBytes(page)
  await page.goto(`/?${new URLSearchParams({ steps: '2', seed: '7', endpoint: server.url }).toString()}`)
  // The browser enforces the limit of 256 MiB.
  const allocated = await page.evaluate((initial) => {
    try {
      return new WebAssembly.Memory({ initial }).buffer.byteLength
    } catch {
      return 0
    }
  }, pages + 1)
  expect(allocated).toBe(0)
  await expect(page.locator('[data-code="little-memory"]')).toContainText('4 GB of memory')

  await expect(page.getByText('Ctrl-Enter')).toHaveCount(0)
  await fitsAFinger(page)
  await toggle(page, /GB of memory/)
  await toggle(page, 'Settings')
  const showReferences = (count: number) =>
    page.evaluate(async (length) => {
      const picture = await (await fetch('./icons/icon-192.png')).blob()
      const box = document.querySelector('aquatint-prompt')
      if (box !== null) box.referenceImages = Array.from({ length }, () => picture)
    }, count)
  await showReferences(2)
  await expect(page.getByRole('img', { name: 'Reference picture 2' })).toBeVisible()
  await page.getByLabel('Model', { exact: true }).selectOption({ label: 'Another model…' })
  await toggle(page, 'Access token')
  await fitsAFinger(page)
  await showReferences(0)
  await page.getByLabel('Model', { exact: true }).selectOption({ index: 0 })
  for (const [name, title] of [
    ['Models', 'Downloaded models'],
    ['This machine', 'This machine'],
  ] as const) {
    await page.getByRole('button', { name }).tap()
    const panel = page.getByRole('dialog', { name: title })
    await expect(panel).toBeVisible()
    await fitsAFinger(page)
    await panel.getByRole('button', { name: 'Close' }).tap()
    await expect(panel).toBeHidden()
  }

  const run = page.getByRole('button', { name: 'Generate' })
  await page.getByLabel('Prompt', { exact: true }).tap()
  await page.keyboard.type('a red apple')
  const peak = page.evaluate(
    () =>
      new Promise<number>((resolve) => {
        let measured = 0
        const box = document.querySelector('aquatint-prompt')
        box?.addEventListener('progress', ({ detail }) => {
          if (detail.type === 'memory') measured = detail.memory.peak
        })
        box?.addEventListener('image', () => resolve(measured), { once: true })
      }),
  )
  // A run of many steps, during which every control is measured.
  const setSteps = (steps: number) =>
    page.evaluate((value) => document.querySelector('aquatint-prompt')?.setAttribute('steps', value), String(steps))
  await setSteps(1000)
  const cancel = page.getByRole('button', { name: 'Cancel' })
  const stepped = nextEvent(page, 'step')
  await run.tap()
  await stepped
  await fitsAFinger(page)
  await cancel.tap()
  await expect(run).toBeVisible()
  await setSteps(2)
  const made = nextEvent(page, 'image')
  await run.tap()
  await made
  const planned = await page.evaluate(async () => {
    const library: typeof Aquatint = await import(/* @vite-ignore */ `${location.origin}/aquatint.js`)
    const box = document.querySelector('aquatint-prompt')
    const plan = await library.DiffusionPipeline.plan(box?.model ?? '', box?.loadOptions)
    return Object.values(plan.devices).reduce((sum, { peakBytes }) => sum + peakBytes, 0)
  })
  expect(await peak).toBeGreaterThan(0)
  expect(await peak).toBeLessThanOrEqual(planned)
  expect(planned).toBeLessThanOrEqual(pages * 65_536)

  const picture = page.getByRole('button', { name: 'Open: a red apple' })
  await expect(picture).toBeVisible()
  await fitsAFinger(page)

  await picture.tap()
  const dialog = page.getByRole('dialog', { name: 'Picture' })
  await expect(dialog.getByRole('img')).toBeVisible()
  await fitsAFinger(page)
  await dialog.getByRole('button', { name: 'Close' }).tap()
  await expect(dialog).toBeHidden()
  await page.evaluate(() => {
    const box = document.querySelector('aquatint-prompt')
    if (box !== null) box.startImage = box.value
  })
  await expect(page.getByRole('slider')).toBeVisible()
  await fitsAFinger(page)
  await page.evaluate(() => {
    const box = document.querySelector('aquatint-prompt')
    if (box !== null) box.startImage = null
  })

  await test.step('the second picture, compared with the first', async () => {
    const again = nextEvent(page, 'image')
    await page.getByLabel('Prompt', { exact: true }).fill('a blue boat')
    await run.tap()
    await again
    const boxes = page.getByRole('checkbox')
    await expect(boxes).toHaveCount(2)
    for (const box of await boxes.all()) await box.tap()
    await page.getByRole('button', { name: 'Compare two' }).tap()
    const pair = page.getByRole('dialog', { name: 'Compare' })
    await expect(pair.getByRole('slider')).toBeVisible()
    await fitsAFinger(page)
    await pair.getByRole('button', { name: 'Close' }).tap()
  })

  await test.step('a LoRA with a long name', async () => {
    await dropFile(page, 'Hyper-SD15-8steps-lora.safetensors', readFileSync('fixtures/lora/kohya.safetensors'))
    const remove = page.getByRole('button', { name: 'Remove Hyper-SD15-8steps-lora.safetensors' })
    await toggle(page, 'More about the scheduler')
    await remove.scrollIntoViewIfNeeded()
    await fitsAFinger(page)
    // The button is beside the long name, not below it.
    const [name, button] = await Promise.all([page.locator('.lora-name').boundingBox(), remove.boundingBox()])
    expect(button?.x).toBeGreaterThanOrEqual((name?.x ?? NaN) + (name?.width ?? NaN))
    await remove.tap()
    await expect(remove).toBeHidden()
  })

  const fails = (code: string, name: string, options: Readonly<Record<string, unknown>> = {}) =>
    test.step(code, async () => {
      const failed = page.evaluate(
        ([id, more]) =>
          new Promise<string>((resolve) => {
            const box = document.querySelector('aquatint-prompt')
            if (box === null) return
            box.addEventListener('error', ({ detail }) => resolve(String(Reflect.get(Object(detail), 'code'))), { once: true })
            box.model = id
            box.loadOptions = more
          }),
        [name, { endpoint: server.url, ...options }] as const,
      )
      await run.tap()
      expect(await failed).toBe(code)
      await expect(run).toBeEnabled()
      await page.locator('.message.error').first().scrollIntoViewIfNeeded()
      await fitsAFinger(page)
    })
  await fails('repository-not-found', 'nobody/nothing')
  server.setFaults({ rules: [{ match: { path: 'unet' }, status: 403 }] })
  await fails('forbidden', model, { device: 'wasm' })
  server.setFaults({})
  await fails('does-not-fit', model, { device: 'webgpu', maxMemory: '1MB' })
  // The test counted the engine's worker, which created no GPU buffer for the model that does not fit.
  const { workers, bytes } = await gpuBytes()
  expect(workers).toBeGreaterThan(0)
  expect(bytes).toBe(0)
  await page.evaluate(() => new BroadcastChannel('gpu-loss').postMessage(0))
  await fails('device-lost-again', model, { device: 'webgpu' })
})
