/** The page describes the machine, explains each limitation in one sentence, and generates pictures in spite of it. */

import type { Page } from '@playwright/test'
import { expect, generate, openPage, query, site, test } from './ui/page-harness.js'
import { startSite } from './ui/site-server.js'

/** Replaces the adapter of the page (not of its worker) by a GPU with the given features, vendor and largest binding. */
async function withAdapter(page: Page, features: readonly string[], vendor = 'test', binding = 2 ** 31 - 4): Promise<void> {
  await page.addInitScript(
    ([names, vendorName, maxStorageBufferBindingSize]) => {
      const info = { vendor: vendorName, architecture: '', device: '', description: '', isFallbackAdapter: false }
      const adapter = {
        info,
        features: new Set(names),
        limits: { maxBufferSize: 2 ** 31, maxStorageBufferBindingSize },
      }
      Object.defineProperty(Navigator.prototype, 'gpu', { get: () => ({ requestAdapter: () => Promise.resolve(adapter) }) })
    },
    [features, vendor, binding] as const,
  )
}

/** The panel's line about the GPU's arithmetic. */
const arithmetic = (page: Page) => page.getByRole('dialog').locator('dt:text-is("Arithmetic") + dd')

/** Opens the panel and reads its notes. */
async function panelNotes(page: Page): Promise<readonly string[]> {
  await page.getByRole('button', { name: 'This machine' }).click()
  await expect(page.getByRole('dialog', { name: 'This machine' })).toBeVisible()
  return page.getByRole('dialog').locator('.note').allTextContents()
}

test('the page and its panel describe each kind of machine', async ({ context }) => {
  /** Each machine has a page of its own, whose scripts replace what the browser reports. */
  const machine = (name: string, visit: (page: Page) => Promise<void>) =>
    test.step(name, async () => {
      const page = await context.newPage()
      await visit(page)
      await page.close()
    })
  await machine('on a software adapter the page says what works', async (page) => {
    await page.goto(site)
    await expect(page.locator('[data-code="software-adapter"]')).toContainText('The bundled model works here, on the CPU.')
    await page.getByRole('button', { name: 'This machine' }).click()
    await expect(page.getByRole('dialog').getByText('software adapter only')).toBeVisible()
    // `npm start` sends the headers of an isolated page, so there are threads.
    const { isolated, cores } = await page.evaluate(() => ({
      isolated: crossOriginIsolated,
      cores: navigator.hardwareConcurrency,
    }))
    expect(isolated).toBe(true)
    expect(cores).toBeGreaterThan(1)
    await expect(page.getByRole('dialog').locator('dt:text-is("CPU") + dd')).toHaveText(
      `${cores} cores; models run there on ${Math.min(cores, 8)} threads`,
    )
  })
  await machine('with a capable GPU the page shows no notes', async (page) => {
    await withAdapter(page, ['shader-f16'])
    await page.addInitScript(() => Object.defineProperty(Navigator.prototype, 'deviceMemory', { get: () => 16 }))
    await page.goto('/')
    expect(await panelNotes(page)).toEqual(['This machine has everything that Aquatint can use.'])
    await expect(page.locator('#notes > *')).toHaveCount(0)
    await expect(page.getByRole('dialog').getByText('yes: test')).toBeVisible()
    await expect(arithmetic(page)).toHaveText('16-bit, with 32-bit sums')
    // The panel lists which models fit into a GPU, from docs/memory.md.
    const row = page
      .getByRole('dialog')
      .getByRole('row')
      .filter({ has: page.getByRole('rowheader', { name: '8 GB', exact: true }) })
    await expect(row).toContainText('SDXL base in float16: 6.13 GB, one component at a time')
  })
  await machine(
    'on a phone with Safari’s engine the panel explains its GPU, whose name and buffers are missing or small, and its storage',
    async (page) => {
      await withAdapter(page, ['shader-f16'], '', 2 ** 27)
      await page.addInitScript(() => {
        Object.defineProperty(Navigator.prototype, 'vendor', { get: () => 'Apple Computer, Inc.' })
        Object.defineProperty(Navigator.prototype, 'deviceMemory', { get: () => undefined })
        Object.defineProperty(StorageManager.prototype, 'persist', { value: undefined })
      })
      await page.goto('/')
      const notes = await panelNotes(page)
      expect(notes.map((note) => note.slice(0, note.indexOf(':') < 0 ? note.indexOf(',') : note.indexOf(':')))).toEqual([
        'The largest buffer of this GPU is 134 MB, as on many phones',
        'Safari deletes downloaded models after seven days on which you used Safari but not this page',
        'This browser cannot be asked to keep downloaded models',
      ])
      const dialog = page.getByRole('dialog')
      await expect(dialog.getByText('yes (not named by this browser)')).toBeVisible()
      // The panel shows the limit of a binding, which is smaller than that of a buffer.
      await expect(dialog.locator('dt:text-is("Largest buffer") + dd')).toHaveText('134 MB')
    },
  )
  await machine('with WebGPU in pages but not in workers, where models run, the page says so', async (page) => {
    await withAdapter(page, ['shader-f16'])
    await page.addInitScript(() => {
      // The page asks a worker whether workers have WebGPU. No other worker has a blob as its script; the test replaces this worker's answer.
      const answer = URL.createObjectURL(new Blob(['postMessage(false)'], { type: 'text/javascript' }))
      const { Worker } = window
      window.Worker = class extends Worker {
        constructor(url: string | URL, options?: WorkerOptions) {
          super(String(url).startsWith('blob:') ? answer : url, options)
        }
      }
    })
    await page.goto('/')
    await expect(page.locator('[data-code="no-worker-gpu"]')).toContainText('The bundled model works here, on the CPU.')
    await page.getByRole('button', { name: 'This machine' }).click()
    await expect(page.getByRole('dialog').getByText('not available in workers')).toBeVisible()
  })
  await machine('without 16-bit arithmetic the panel and each model show twice the memory', async (page) => {
    await withAdapter(page, [])
    await page.goto('/')
    expect(await panelNotes(page)).toContainEqual(expect.stringContaining('shader-f16'))
    await expect(arithmetic(page)).toHaveText('32-bit')
    await page.keyboard.press('Escape')
    await page.getByLabel('Model', { exact: true }).selectOption('stable-diffusion-v1-5/stable-diffusion-v1-5')
    await expect(page.getByText(/needs about 3\.44 GB of GPU memory in float32/)).toBeVisible()
  })
  await machine('with little memory the page says so', async (page) => {
    await page.addInitScript(() => Object.defineProperty(Navigator.prototype, 'deviceMemory', { get: () => 2 }))
    await page.goto('/')
    await expect(page.locator('[data-code="little-memory"]')).toHaveText(
      'This machine reports 2 GB of memory. Large models may not fit; the bundled one does.',
    )
  })
  await machine('with little storage, as in a private window, the panel says so', async (page) => {
    // Chromium does not report the quota that it enforces, so the test replaces the report.
    await page.addInitScript(() => {
      StorageManager.prototype.estimate = () => Promise.resolve({ quota: 1e9, usage: 0 })
    })
    await page.goto('/')
    expect(await panelNotes(page)).toContainEqual(expect.stringContaining('less than 3 GB more (a private window'))
  })
})

test('without WebGPU, or without storage, the page says so and still generates pictures', async ({ page, server }) => {
  await page.addInitScript(() => {
    Object.defineProperty(Navigator.prototype, 'gpu', { get: () => undefined })
    IDBFactory.prototype.open = () => {
      throw new DOMException('The user denied permission to access the database.', 'SecurityError')
    }
  })
  await openPage(page, server, { device: 'auto' })
  await expect(page.locator('[data-code="no-webgpu"]')).toBeVisible()
  await expect(page.locator('[data-code="no-storage"]')).toBeVisible()
  await generate(page, 'a red apple')
  await expect(page.getByRole('img', { name: 'a red apple' })).toBeVisible()
})

test('in a frame of another site the panel says so', async ({ page, server }) => {
  const host = await startSite({
    '/': { html: `<!doctype html><title>Host</title><iframe src="${site}/?${query(server)}" width="900" height="900"></iframe>` },
  })
  try {
    await page.goto(host.url)
    const frame = page.frameLocator('iframe')
    await frame.getByRole('button', { name: 'This machine' }).click()
    await expect(frame.getByText('This page is embedded in another site.')).toBeVisible()
    // The other site is not isolated, so its frames are not isolated either.
    await expect(frame.locator('dt:text-is("CPU") + dd')).toHaveText(/on 1 thread$/)
    await frame.getByRole('button', { name: 'Close' }).click()
    await frame.getByLabel('Prompt', { exact: true }).fill('a red apple')
    await frame.getByRole('button', { name: 'Generate' }).click()
    await expect(frame.getByRole('img', { name: 'a red apple' })).toBeVisible()
  } finally {
    await host.close()
  }
})

test('over plain HTTP, where the browser offers no GPU, the bundled model works', async ({ page, context }) => {
  const insecure = 'http://aquatint.test'
  await context.route(`${insecure}/**`, async (route) => {
    const response = await route.fetch({ url: route.request().url().replace(insecure, site) })
    await route.fulfill({ response })
  })
  await page.goto(`${insecure}/?steps=2`)
  expect(await page.evaluate(() => isSecureContext)).toBe(false)
  await expect(page.locator('[data-code="insecure"]')).toContainText('works here')
  await generate(page, 'a red apple')
  await expect(page.getByRole('img', { name: 'a red apple' })).toBeVisible()
})
