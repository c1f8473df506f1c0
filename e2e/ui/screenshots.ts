/**
 * `npm run screenshots`: pictures of the page's main states, in light and dark, from the built site, for people to look at. Written to
 * docs/screenshots, or to the folder named. The model is the bundled one, or with `--fixture` the tiny fixture.
 */

import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { chromium, type Page } from 'playwright'
import { chromiumLaunchOptions } from '../../scripts/chromium.mjs'
import { startHubServer } from '../hub-server/server.js'
import { startFolder } from './site-server.js'

interface Shot {
  readonly name: string
  readonly width: number
  readonly height: number
  readonly dark?: boolean
  readonly query?: Readonly<Record<string, string>>
  /** Bytes a second that the look-alike sends. */
  readonly slow?: number
  readonly reach: (page: Page) => Promise<void>
}

const prompt = 'a red apple on a blue background'

async function write(page: Page): Promise<void> {
  await page.getByLabel('Prompt', { exact: true }).fill(prompt)
}

async function run(page: Page): Promise<void> {
  await write(page)
  await page.getByRole('button', { name: 'Generate' }).click()
}

async function made(page: Page): Promise<void> {
  await run(page)
  await page.getByRole('img', { name: prompt }).first().waitFor({ timeout: 120_000 })
  await page
    .getByRole('button', { name: `Open: ${prompt}` })
    .first()
    .waitFor()
}

const wide = { width: 1280, height: 900 }
const narrow = { width: 360, height: 740 }

const shots: readonly Shot[] = [
  { name: 'idle-light', ...wide, reach: write },
  { name: 'idle-dark', ...wide, dark: true, reach: write },
  { name: 'idle-360', ...narrow, reach: write },
  {
    name: 'downloading-light',
    ...wide,
    slow: 60_000,
    query: { model: 'fixtures/tiny-sdxl' },
    reach: async (page) => {
      await write(page)
      await page.getByText(/^\d+ files$/).click()
      await page.getByText(/\/s · .* left/).waitFor()
    },
  },
  {
    name: 'denoising-dark',
    ...wide,
    dark: true,
    query: { steps: '60' },
    reach: async (page) => {
      await run(page)
      await page
        .getByText(/step [1-9]\d of/)
        .first()
        .waitFor({ timeout: 120_000 })
    },
  },
  { name: 'done-light', ...wide, reach: made },
  { name: 'done-dark', ...wide, dark: true, reach: made },
  { name: 'done-360', ...narrow, reach: made },
  {
    name: 'error-light',
    ...wide,
    query: { model: 'nobody/nothing' },
    reach: async (page) => {
      await page.getByText('The model could not be fetched').waitFor()
    },
  },
  {
    name: 'no-webgpu-dark',
    ...wide,
    dark: true,
    query: { 'no-gpu': '' },
    reach: async (page) => {
      await page.locator('[data-code="no-webgpu"]').waitFor()
    },
  },
  {
    name: 'models-light',
    ...wide,
    reach: async (page) => {
      await made(page)
      await page.getByRole('button', { name: 'Models' }).click()
      await page.getByRole('button', { name: /^Delete / }).waitFor()
    },
  },
  {
    name: 'picture-dark',
    ...wide,
    dark: true,
    reach: async (page) => {
      await made(page)
      await page.getByRole('button', { name: `Open: ${prompt}` }).click()
    },
  },
]

/** Takes the pictures whose names contain one of the arguments, or all. */
export async function main(args: readonly string[]): Promise<void> {
  const fixture = args.includes('--fixture')
  const [folder = 'docs/screenshots', ...only] = args.filter((argument) => !argument.startsWith('--'))
  mkdirSync(folder, { recursive: true })
  const server = await startHubServer({
    repositories: { 'fixtures/tiny-sdxl': 'fixtures/tiny-sdxl/repo', 'fixtures/tiny-sd15': 'fixtures/tiny-sd15/repo' },
  })
  const site = await startFolder(args.find((argument) => argument.startsWith('--site='))?.slice(7) ?? 'dist/site')
  const browser = await chromium.launch(chromiumLaunchOptions())
  try {
    for (const shot of shots) {
      if (only.length > 0 && !only.some((part) => shot.name.includes(part))) continue
      const { name, width, height, dark = false, query = {}, slow, reach } = shot
      server.setFaults(slow === undefined ? {} : { bytesPerSecond: slow })
      const context = await browser.newContext({
        viewport: { width, height },
        colorScheme: dark ? 'dark' : 'light',
        reducedMotion: 'reduce',
      })
      const page = await context.newPage()
      if ('no-gpu' in query)
        await page.addInitScript(() => Object.defineProperty(Navigator.prototype, 'gpu', { get: () => undefined }))
      const given = { ...(fixture ? { model: 'fixtures/tiny-sd15', device: 'wasm', width: '64', height: '64' } : {}), ...query }
      await page.goto(`${site.url}/?${new URLSearchParams({ ...given, endpoint: server.url }).toString()}`)
      await reach(page)
      // Above all: no scrolling to what was pressed, and no hover.
      await page.mouse.move(0, 0)
      await page.evaluate(() => window.scrollTo(0, 0))
      await page.screenshot({ path: join(folder, `${name}.jpg`), type: 'jpeg', quality: 80, fullPage: width === narrow.width })
      await context.close()
      console.log(name)
    }
  } finally {
    await browser.close()
    await site.close()
    await server.close()
  }
}
