/** What the specs of the page share: a Hub look-alike with a fixture, opening the page, waiting for its events, axe. */

import { readFileSync } from 'node:fs'
import { test as base, expect, type Page } from '@playwright/test'
import { startHubServer } from '../hub-server/server.js'
import type { HubServer } from '../hub-server/types.js'
import type { AquatintPrompt } from '../../src/ui/element.js'

/** The repository that the specs load, and the width and height of their pictures. */
export const model = 'fixtures/tiny-sd15'
export const size = 32

export { site } from './site.js'

/** Each test has its own Hub look-alike. */
export const test = base.extend<{ server: HubServer }>({
  server: async ({ page: _page }, use) => {
    const server = await startHubServer({ repositories: { [model]: `${model}/repo` } })
    await use(server)
    await server.close()
  },
})
export { expect }

/** The query of the URL for a quick run of the fixture on the CPU. It has a prompt, because the page asks before it generates without one. */
export function query(server: HubServer, more: Readonly<Record<string, string>> = {}): string {
  return new URLSearchParams({
    model,
    prompt: 'a boat',
    endpoint: server.url,
    device: 'wasm',
    steps: '2',
    width: String(size),
    height: String(size),
    seed: '7',
    ...more,
  }).toString()
}

/** Opens the page on the fixture. */
export async function openPage(page: Page, server: HubServer, more: Readonly<Record<string, string>> = {}): Promise<void> {
  await page.goto(`/?${query(server, more)}`)
}

/** Resolves when the page has loaded its model. */
export async function modelReady(page: Page): Promise<void> {
  await page.waitForFunction(() => document.querySelector('aquatint-prompt')?.state === 'ready')
}

/** Types a prompt, presses Generate, waits for the picture. */
export async function generate(page: Page, prompt: string): Promise<void> {
  const made = nextEvent(page, 'image')
  await page.getByLabel('Prompt', { exact: true }).fill(prompt)
  await page.getByRole('button', { name: 'Generate' }).click()
  await made
}

/** Resolves at the prompt box's next event of a type; rejects at an `error` before it. */
export function nextEvent(page: Page, type: string): Promise<void> {
  return page.evaluate(
    (name) =>
      new Promise<void>((resolve, reject) => {
        const box = document.querySelector('aquatint-prompt')
        box?.addEventListener(name, () => resolve(), { once: true })
        if (name !== 'error') {
          box?.addEventListener('error', ({ detail }) => reject(detail instanceof Error ? detail : new Error(String(detail))), {
            once: true,
          })
        }
      }),
    type,
  )
}

/** Drops a file with these bytes on the page, like a file from the disk. */
export function dropFile(page: Page, name: string, bytes: Uint8Array): Promise<void> {
  return page.evaluate(
    ([fileName, data]) => {
      const file = new File([Uint8Array.from(atob(data), (character) => character.charCodeAt(0))], fileName)
      const transfer = new DataTransfer()
      transfer.items.add(file)
      document.documentElement.dispatchEvent(new DragEvent('drop', { dataTransfer: transfer, bubbles: true, cancelable: true }))
    },
    [name, Buffer.from(bytes).toString('base64')] as const,
  )
}

/** The box's state. */
export function state(page: Page): Promise<AquatintPrompt['state'] | undefined> {
  return page.evaluate(() => document.querySelector('aquatint-prompt')?.state)
}

const axeSource = readFileSync('node_modules/axe-core/axe.min.js', 'utf8')

/** The violations of WCAG 2.1 AA and of axe's best practices that axe finds, also in shadow roots. */
export async function violations(page: Page): Promise<readonly string[]> {
  if (!(await page.evaluate(() => 'axe' in globalThis))) await page.evaluate(axeSource)
  return page.evaluate(async () => {
    interface Axe {
      run(): Promise<{ violations: { id: string; nodes: { target: unknown; failureSummary?: string }[] }[] }>
    }
    const { axe } = globalThis as unknown as { axe: Axe }
    const found = await axe.run()
    return found.violations.flatMap(({ id, nodes }) =>
      nodes.map(({ target, failureSummary }) => `${id} at ${JSON.stringify(target)}: ${failureSummary ?? ''}`),
    )
  })
}

/** By how many pixels the page is wider than its window. */
export function overflow(page: Page): Promise<number> {
  return page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth)
}
