/**
 * `npm run docs:browsers` reads the reports of the last run of the specs in e2e/browsers. It writes the table of docs/browsers.md, which
 * lists each test's result in each browser, and puts that run's screenshots side by side into docs/screenshots.
 */

import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { chromium } from 'playwright'
import { chromiumLaunchOptions } from '../../scripts/chromium.mjs'
import type { EngineName } from './drivers/types.js'

const reports = 'test-results/reports'
const screenshots = 'test-results/browsers'
const page = 'docs/browsers.md'
const [begin, end] = ['<!-- written by npm run docs:browsers -->', '<!-- end -->']

/** The projects of playwright.config.ts, by engine. */
const projects: Readonly<Record<EngineName, string>> = { chromium: 'site', firefox: 'firefox', webkit: 'webkit' }
const engineNames = Object.keys(projects) as EngineName[]

interface Annotation {
  readonly type: string
  readonly description?: string
}

interface Result {
  readonly annotations?: readonly Annotation[]
  /** A failed test may lack its last steps. */
  readonly steps?: readonly { readonly title: string; readonly error?: object }[]
}

/** The parts of Playwright's JSON report that are read here. */
interface Suite {
  readonly file: string
  readonly suites?: readonly Suite[]
  readonly specs?: readonly {
    readonly title: string
    readonly tests: readonly {
      readonly projectName: string
      readonly status: 'expected' | 'unexpected' | 'flaky' | 'skipped'
      readonly annotations: readonly Annotation[]
      readonly results: readonly Result[]
    }[]
  }[]
}

interface Results {
  /** The table's cells: by the title of a step (or of a test without steps), then by engine. */
  readonly rows: Map<string, Map<EngineName, string>>
  readonly versions: Map<EngineName, string>
}

function read(suite: Suite, { rows, versions }: Results): void {
  for (const inner of suite.suites ?? []) read(inner, { rows, versions })
  for (const { title, tests } of suite.specs ?? []) {
    for (const { projectName, status, annotations, results } of tests) {
      const engine = engineNames.find((name) => projects[name] === projectName)
      if (engine === undefined || !suite.file.includes('browsers/')) continue
      const notes = [...annotations, ...results.flatMap((result) => result.annotations ?? [])]
      const version = notes.find(({ type }) => type === 'browser')?.description
      if (version !== undefined) versions.set(engine, version)
      const why = notes.find(({ type }) => type === 'skip')?.description ?? 'not run'
      const cell = status === 'expected' ? 'passed' : status === 'skipped' ? `not run: ${why}` : 'failed'
      const steps = results.flatMap((result) => result.steps ?? [])
      const outcomes = steps.map((step) => [step.title, step.error === undefined ? 'passed' : 'failed'] as const)
      for (const [name, text] of status === 'unexpected' || steps.length === 0
        ? [...outcomes, [title, cell] as const]
        : outcomes) {
        const row = rows.get(name) ?? new Map<EngineName, string>()
        rows.set(name, row.set(engine, text))
      }
    }
  }
}

/** The table in Markdown. */
function table({ rows, versions }: Results): string {
  const head = ['', ...engineNames.map((name) => versions.get(name) ?? `${name}: not run`)]
  const lines = [head, head.map(() => '---')]
  for (const [title, cells] of rows) lines.push([title, ...engineNames.map((name) => cells.get(name) ?? 'not run')])
  return lines.map((cells) => `| ${cells.join(' | ')} |`).join('\n')
}

/** Writes one JPEG for each state of the page: the browsers' screenshots side by side, each below the browser's version. */
async function writePictures({ versions }: Results): Promise<void> {
  const browser = await chromium.launch(chromiumLaunchOptions())
  try {
    const states = readdirSync(join(screenshots, 'chromium')).map((file) => file.replace(/\.png$/, ''))
    for (const state of states) {
      // In WebKit, a page of 360 pixels fills only the upper left corner of its wider window.
      const crop = state.endsWith('-360') ? 'style="width: 360px; height: 640px; object-fit: none; object-position: 0 0"' : ''
      const figures = engineNames.flatMap((name) => {
        const file = join(screenshots, name, `${state}.png`)
        if (!existsSync(file)) return []
        const source = `data:image/png;base64,${readFileSync(file).toString('base64')}`
        return [`<figure><figcaption>${versions.get(name) ?? name}</figcaption><img ${crop} src="${source}"></figure>`]
      })
      const tab = await browser.newPage({ viewport: { width: 1500, height: 500 } })
      await tab.setContent(`<!doctype html><style>
        body { display: inline-flex; gap: 12px; margin: 0; padding: 12px; background: #777; font: 16px sans-serif; color: #fff }
        figure { margin: 0 } img { display: block; max-width: 484px } figcaption { padding-block-end: 6px }
      </style>${figures.join('')}`)
      await tab.locator('body').screenshot({ path: `docs/screenshots/browsers-${state}.jpg`, type: 'jpeg', quality: 72 })
      await tab.close()
    }
  } finally {
    await browser.close()
  }
}

/** Writes the table and the pictures. @throws Error without a report of every browser's specs */
export async function main(): Promise<void> {
  const results: Results = { rows: new Map(), versions: new Map() }
  for (const name of ['e2e', 'browsers']) {
    const file = join(reports, `${name}.json`)
    if (existsSync(file))
      read({ file: '', suites: (JSON.parse(readFileSync(file, 'utf8')) as { suites: Suite[] }).suites }, results)
  }
  const missing = engineNames.filter((name) => !results.versions.has(name))
  if (missing.length > 0)
    throw new Error(`There is no result of ${missing.join(' and ')}: run "npm test -- build pack e2e browsers" first`)
  const text = readFileSync(page, 'utf8')
  const [from, to] = [text.indexOf(begin), text.indexOf(end)]
  if (from < 0 || to < from) throw new Error(`${page} must contain ${begin} and ${end}`)
  writeFileSync(page, `${text.slice(0, from)}${begin}\n\n${table(results)}\n\n${text.slice(to)}`)
  await writePictures(results)
}
