/** Runs the HTML snippets of the documents unchanged, except for the hosts' names and the image size. */

import type { Locator, Page } from '@playwright/test'
import { findSnippet, readSnippets } from './docs/read-docs.js'
import { expect, site, size, test } from './ui/page-harness.js'
import { startSite } from './ui/site-server.js'

const documented = 'stable-diffusion-v1-5/stable-diffusion-v1-5'

/**
 * The snippets that show a box or a frame. The key is a text that only this snippet contains; the function checks the snippet in its section of the
 * test page.
 */
const boxes: Readonly<Record<string, (section: Locator, page: Page) => Promise<void>>> = {
  // first-picture.md: the tag, while the page has no other picture
  'a rocket': async (section) => {
    await section.getByRole('button', { name: 'Generate' }).click()
    await expect(section.getByRole('img', { name: 'a rocket' })).toBeVisible()
  },
  // README: the tag
  'variant="fp16"></aquatint-prompt>': async (section) => {
    await section.getByLabel('Prompt', { exact: true }).fill('a boat')
    await section.getByRole('button', { name: 'Generate' }).click()
    await expect(section.getByRole('img', { name: 'a boat' })).toBeVisible()
  },
  // embedding.md: one tag
  'a cute dog running': async (section) => {
    await section.getByRole('button', { name: 'Generate' }).click()
    await expect(section.getByRole('img', { name: 'a cute dog running on the grass' })).toBeVisible()
  },
  // embedding.md: events
  'id="said"': async (section) => {
    await expect(section.getByLabel('Model', { exact: true })).toBeHidden()
    await section.getByLabel('Prompt', { exact: true }).fill('a boat')
    await section.getByRole('button', { name: 'Generate' }).click()
    await expect(section.locator('#said')).toHaveText(/^a-boat-\d+\.png, seed \d+$/)
  },
  // embedding.md: in a form
  '<form': async (section) => {
    const valid = () => section.locator('form[method]').evaluate((form: HTMLFormElement) => form.checkValidity())
    await expect(section.getByRole('button', { name: 'Generate' })).toBeVisible()
    expect(await valid()).toBe(false)
    await section.getByLabel('Prompt', { exact: true }).fill('a boat')
    await section.getByRole('button', { name: 'Generate' }).click()
    await expect.poll(valid).toBe(true)
  },
  // embedding.md: styling
  'part(run)': async (section) => {
    const run = section.getByRole('button', { name: 'Generate' })
    await expect(run).toHaveCSS('background-color', 'rgb(0, 90, 160)')
    await expect(run).toHaveCSS('letter-spacing', '1px')
    await expect(run).toHaveCSS('border-radius', '0px')
  },
  // embedding.md: a frame
  '<iframe': async (section, page) => {
    // Chromium does not lay out a cross-origin frame outside of the viewport.
    await section.locator('iframe').scrollIntoViewIfNeeded()
    await expect(page).toHaveTitle('a-cute-dog-7.png')
    await expect.poll(async () => (await section.locator('iframe').boundingBox())?.height).not.toBe(900)
  },
}

test('every HTML snippet has a test', () => {
  // The last snippet only loads the script of docs/first-picture.md, which widget-snippets.spec.ts runs.
  const texts = [...Object.keys(boxes), 'aquatint.js', 'src="/main.ts"']
  const found = readSnippets('html').map(({ code }) => texts.filter((text) => code.includes(text)))
  expect(found.flat().sort()).toEqual(texts.sort())
  expect(found).toHaveLength(texts.length)
})

test('the boxes and the frame work on one page of another origin', async ({ page, server }) => {
  server.setRepository(documented, 'fixtures/tiny-sdxl/repo')
  const quick = { endpoint: server.url, device: 'wasm', steps: '2', width: String(size), height: String(size) }
  const attributes = Object.entries(quick)
    .map(([name, value]) => `${name}="${value}"`)
    .join(' ')
  const pages: Record<string, { html: string }> = {}
  const other = await startSite(pages)
  const sections = Object.keys(boxes).map((text, at) => {
    const html = findSnippet(text, 'html')
      .code.replaceAll('https://aquatint.example', site)
      .replaceAll('http://127.0.0.1:5173', site)
      .replaceAll('https://your.example', other.url)
      .replace('<aquatint-prompt\n', `<aquatint-prompt ${attributes}\n`)
      .replace('<aquatint-prompt ', `<aquatint-prompt ${attributes} `)
      .replace('embed.html?', `embed.html?${new URLSearchParams(quick).toString()}&`)
      .replace('<!doctype html>', '')
    return `<section id="section-${at}">${html}</section>`
  })
  pages['/'] = { html: `<!doctype html><title>Snippets</title>${sections.join('')}` }
  try {
    await page.goto(other.url)
    for (const [at, [text, check]] of Object.entries(boxes).entries())
      await test.step(text, () => check(page.locator(`#section-${at}`), page))
  } finally {
    await other.close()
  }
})
