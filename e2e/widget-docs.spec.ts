/** Runs the HTML snippets of the documents unchanged, except for the hosts' names and the image size. */

import type { Page } from '@playwright/test'
import { findSnippet, readSnippets } from './docs/read-docs.js'
import type { HubServer } from './hub-server/types.js'
import { expect, site, size, test } from './ui/page-harness.js'
import { startSite } from './ui/site-server.js'

const documented = 'stable-diffusion-v1-5/stable-diffusion-v1-5'

/** Opens the snippet that contains `text` as a page on an origin of its own. */
async function openSnippet(page: Page, server: HubServer, text: string, work: () => Promise<void>): Promise<void> {
  server.setRepository(documented, 'fixtures/tiny-sdxl/repo')
  const quick = { endpoint: server.url, device: 'wasm', steps: '2', width: String(size), height: String(size) }
  const attributes = Object.entries(quick).map(([name, value]) => `${name}="${value}"`)
  const pages: Record<string, { html: string }> = {}
  const other = await startSite(pages)
  const html = findSnippet(text, 'html')
    .code.replaceAll('https://aquatint.example', site)
    .replaceAll('http://127.0.0.1:5173', site)
    .replaceAll('https://your.example', other.url)
    .replace('<aquatint-prompt\n', `<aquatint-prompt ${attributes.join(' ')}\n`)
    .replace('<aquatint-prompt ', `<aquatint-prompt ${attributes.join(' ')} `)
    .replace('embed.html?', `embed.html?${new URLSearchParams(quick).toString()}&`)
  pages['/'] = { html: `<!doctype html><title>Snippet</title>${html}` }
  try {
    await page.goto(other.url)
    await work()
  } finally {
    await other.close()
  }
}

test('every HTML snippet has a test', () => {
  const tags = [
    'a rocket',
    'variant="fp16"></aquatint-prompt>',
    'a cute dog running',
    'id="said"',
    '<form',
    'part(run)',
    '<iframe',
    'aquatint.js',
  ]
  // The page that only starts the first guide's script, which widget-snippets.spec.ts runs.
  const texts = [...tags, 'src="/main.ts"']
  const found = readSnippets('html').map(({ code }) => texts.filter((text) => code.includes(text)))
  expect(found.flat().sort()).toEqual(texts.sort())
  expect(found).toHaveLength(texts.length)
})

test('the tag of the README', async ({ page, server }) => {
  await openSnippet(page, server, 'variant="fp16"></aquatint-prompt>', async () => {
    await page.getByLabel('Prompt', { exact: true }).fill('a boat')
    await page.getByRole('button', { name: 'Generate' }).click()
    await expect(page.getByRole('img', { name: 'a boat' })).toBeVisible()
  })
})

test('the first guide’s tag', async ({ page, server }) => {
  await openSnippet(page, server, 'a rocket', async () => {
    await page.getByRole('button', { name: 'Generate' }).click()
    await expect(page.getByRole('img', { name: 'a rocket' })).toBeVisible()
  })
})

test('one tag', async ({ page, server }) => {
  await openSnippet(page, server, 'a cute dog running', async () => {
    await page.getByRole('button', { name: 'Generate' }).click()
    await expect(page.getByRole('img', { name: 'a cute dog running on the grass' })).toBeVisible()
  })
})

test('listening', async ({ page, server }) => {
  await openSnippet(page, server, 'id="said"', async () => {
    await expect(page.getByLabel('Model', { exact: true })).toBeHidden()
    await page.getByLabel('Prompt', { exact: true }).fill('a boat')
    await page.getByRole('button', { name: 'Generate' }).click()
    await expect(page.locator('#said')).toHaveText(/^a-boat-\d+\.png, seed \d+$/)
  })
})

test('in a form', async ({ page, server }) => {
  await openSnippet(page, server, '<form', async () => {
    await expect(page.getByRole('button', { name: 'Generate' })).toBeVisible()
    expect(await page.evaluate(() => document.querySelector('form')?.checkValidity())).toBe(false)
    await page.getByLabel('Prompt', { exact: true }).fill('a boat')
    await page.getByRole('button', { name: 'Generate' }).click()
    await expect.poll(() => page.evaluate(() => document.querySelector('form')?.checkValidity())).toBe(true)
  })
})

test('its styles', async ({ page, server }) => {
  await openSnippet(page, server, 'part(run)', async () => {
    const run = page.getByRole('button', { name: 'Generate' })
    await expect(run).toHaveCSS('background-color', 'rgb(0, 90, 160)')
    await expect(run).toHaveCSS('letter-spacing', '1px')
    await expect(run).toHaveCSS('border-radius', '0px')
  })
})

test('the frame', async ({ page, server }) => {
  await openSnippet(page, server, '<iframe', async () => {
    await expect(page).toHaveTitle('a-cute-dog-7.png')
    await expect.poll(async () => (await page.locator('iframe').boundingBox())?.height).not.toBe(900)
  })
})
