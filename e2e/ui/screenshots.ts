/**
 * `npm run screenshots`: takes screenshots of the main states of the built site, in light and dark, into docs/screenshots or the given
 * folder. It uses the bundled model, or with `--fixture` the tiny fixture.
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
  /** Bytes per second that the Hub look-alike sends. */
  readonly slow?: number
  /** The whole page instead of the window. */
  readonly whole?: boolean
  readonly reach: (page: Page) => Promise<void>
}

const prompt = 'a red apple on a blue background'

async function write(page: Page, words = prompt): Promise<void> {
  await page.getByLabel('Prompt', { exact: true }).fill(words)
}

/** Types a prompt and waits until the model, which loads meanwhile, is ready. */
async function idle(page: Page): Promise<void> {
  await write(page)
  await page.getByText('Ready', { exact: true }).first().waitFor({ timeout: 120_000 })
}

async function run(page: Page, words = prompt): Promise<void> {
  await write(page, words)
  await page.getByRole('button', { name: 'Generate' }).click()
}

/** Generates a picture and waits until the gallery shows it. */
async function made(page: Page, words = prompt): Promise<void> {
  await run(page, words)
  await page.getByRole('img', { name: words }).first().waitFor({ timeout: 120_000 })
  await page
    .getByRole('button', { name: `Open: ${words}` })
    .first()
    .waitFor()
}

const others = ['a penguin on a pink background', 'a rocket on a yellow background', 'a fox on a purple background']

/** Generates the four pictures of a gallery. */
async function gallery(page: Page): Promise<void> {
  for (const words of others) await made(page, words)
  await made(page)
}

async function compare(page: Page): Promise<void> {
  await gallery(page)
  for (const words of [prompt, others[0]]) await page.getByLabel(`Compare: ${words}`).check()
  await page.getByRole('button', { name: 'Compare two' }).click()
}

const wide = { width: 1280, height: 900 }
const full = { width: 3840, height: 2160 }
const narrow = { width: 360, height: 740 }

const shots: readonly Shot[] = [
  { name: 'idle-light', ...wide, reach: idle },
  { name: 'idle-dark', ...wide, dark: true, reach: idle },
  { name: 'idle-360', ...narrow, reach: idle },
  {
    name: 'downloading-light',
    ...wide,
    whole: true,
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
  { name: 'done-4k', ...full, reach: gallery },
  { name: 'gallery-light', ...wide, reach: gallery, whole: true },
  { name: 'gallery-dark', ...wide, dark: true, reach: gallery, whole: true },
  { name: 'compare-light', ...wide, reach: compare },
  {
    name: 'settings-light',
    ...wide,
    whole: true,
    reach: async (page) => {
      await idle(page)
      await page.getByText('Settings', { exact: true }).click()
    },
  },
  {
    name: 'start-picture-light',
    ...wide,
    reach: async (page) => {
      await made(page)
      await page.evaluate(() => {
        const box = document.querySelector('aquatint-prompt')
        if (box !== null) box.startImage = box.value
      })
      await page.getByRole('slider').waitFor()
    },
  },
  {
    name: 'machine-light',
    ...wide,
    reach: async (page) => {
      await page.getByRole('button', { name: 'This machine' }).click()
      await page.getByRole('dialog').waitFor()
    },
  },
  {
    name: 'error-light',
    ...wide,
    whole: true,
    query: { model: 'nobody/nothing' },
    reach: async (page) => {
      await page.getByText('The model could not be downloaded').waitFor()
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

/** Takes the screenshots. The first argument is the folder; with more, only screenshots whose names contain one of these are taken. */
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
      const { name, width, height, dark = false, query = {}, slow, whole = width === narrow.width, reach } = shot
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
      // Undo the scrolling to the pressed button, and its hover style.
      await page.mouse.move(0, 0)
      await page.evaluate(() => window.scrollTo(0, 0))
      await page.screenshot({ path: join(folder, `${name}.jpg`), type: 'jpeg', quality: 80, fullPage: whole })
      await context.close()
      console.log(name)
    }
  } finally {
    await browser.close()
    await site.close()
    await server.close()
  }
}
