/**
 * The GPU is lost during a generation in the built page: Aquatint opens a new device, the weights come from the cache without a request,
 * and the image is diffusers'. When the GPU is lost a second time, the page says so and stops.
 */
import { readFileSync } from 'node:fs'
import { expect, test as base, type Browser, type Page } from '@playwright/test'
import { chromiumLaunchOptions } from '../scripts/chromium.mjs'
import type { AquatintPrompt } from '../src/ui/element.js'
import { startHubServer } from './hub-server/server.js'
import type { HubServer } from './hub-server/types.js'
import type { FixtureCase } from '../src/pipelines/testing-cases.js'
import { psnr, type Outcome } from './ui/made-picture.js'

// The fixture with the fewest kernels: SwiftShader takes about a second to compile one.
const model = 'fixtures/tiny-z-image'
const reference = `${model}/reference-0.safetensors`
const [item] = JSON.parse(readFileSync(`${model}/case.json`, 'utf8')) as [FixtureCase]

interface Box {
  readonly page: Page
  readonly server: HubServer
  /** Ends the GPU process, and with it every device. */
  readonly loseGpu: () => Promise<void>
}

// Each test has a browser of its own, because a browser gives no adapter after two losses.
const test = base.extend<{ steps: number; browserOfOwn: Browser; box: Box }>({
  steps: [item.num_inference_steps, { option: true }],
  browserOfOwn: async ({ playwright }, use) => {
    const browser = await playwright.chromium.launch(chromiumLaunchOptions())
    await use(browser)
    await browser.close()
  },
  box: async ({ browserOfOwn, baseURL, steps }, use) => {
    const server = await startHubServer({ repositories: { [model]: `${model}/repo` } })
    const page = await browserOfOwn.newPage(baseURL === undefined ? {} : { baseURL })
    const session = await browserOfOwn.newBrowserCDPSession()
    const query = new URLSearchParams({
      model,
      endpoint: server.url,
      device: 'webgpu',
      steps: String(steps),
      guidance: String(item.guidance_scale),
      seed: String(item.seed),
      width: String(item.width),
      height: String(item.height),
    })
    await page.goto(`/?${query}`)
    await page.getByLabel('Prompt', { exact: true }).fill(item.prompt)
    // The command is not awaited, because the process that would answer has ended.
    await use({ page, server, loseGpu: async () => void session.send('Browser.crashGpuProcess').catch(() => {}) })
    await page.close()
    await server.close()
  },
})

/** What a generation reports while it runs: a step by its number, a warning by its code. */
type Report = { readonly step: number } | { readonly warning: string }

/** Presses Generate, calls `onReport` with each report, and resolves with the picture or the error. */
async function generate(page: Page, onReport: (report: Report) => Promise<void>): Promise<Outcome> {
  await page.exposeFunction('onReport', onReport)
  const outcome = page.evaluate(
    () =>
      new Promise<Outcome>((resolve) => {
        const box: AquatintPrompt | null = document.querySelector('aquatint-prompt')
        const { onReport: send } = globalThis as unknown as { readonly onReport: (report: Report) => void }
        box?.addEventListener('step', ({ detail }) => send({ step: detail.step }))
        box?.addEventListener('progress', ({ detail }) => {
          if (detail.type === 'warning') send({ warning: detail.code })
        })
        box?.addEventListener('image', ({ detail }) => {
          const [image] = detail.images
          resolve({
            warnings: [...detail.warnings],
            pixels: image === undefined ? undefined : { width: image.width, height: image.height, data: [...image.data] },
          })
        })
        box?.addEventListener('error', ({ detail }) =>
          resolve({ code: (detail as { readonly code?: string }).code ?? String(detail) }),
        )
      }),
  )
  await page.getByRole('button', { name: 'Generate' }).click()
  return outcome
}

test('a GPU lost between two steps: no request, each step reported once, and the image of diffusers', async ({ box }) => {
  const { page, server, loseGpu } = box
  const steps: number[] = []
  let asked = 0
  const outcome = await generate(page, async (report) => {
    if (!('step' in report)) return
    steps.push(report.step)
    if (report.step !== 0) return
    asked = server.log.length
    await loseGpu()
  })
  expect(outcome.warnings).toEqual([expect.stringContaining('The GPU device was lost. Aquatint opened a new one')])
  expect(psnr(outcome, reference)).toBeGreaterThanOrEqual(50)
  expect(steps).toEqual(steps.map((_, index) => index))
  expect(steps.length).toBeGreaterThan(2)
  expect(asked).toBeGreaterThan(0)
  expect(server.log.slice(asked)).toEqual([])
})

test.describe('twice', () => {
  // Enough steps that the first loss happens before the last step on any machine.
  test.use({ steps: 50 })

  test('a GPU lost again as soon as it is back ends the generation, and the page says why', async ({ box }) => {
    const { page, loseGpu } = box
    let losses = 0
    const outcome = await generate(page, async (report) => {
      const isDue = losses === 0 ? 'step' in report : losses === 1 && 'warning' in report && report.warning === 'device-lost'
      if (!isDue) return
      losses++
      await loseGpu()
    })
    expect(losses).toBe(2)
    expect(outcome.code).toBe('device-lost-again')
    await expect(page.getByText(/The GPU device was lost twice within \d+ seconds/)).toBeVisible()
    await expect(page.getByRole('button', { name: 'Generate' })).toBeEnabled()
  })
})
