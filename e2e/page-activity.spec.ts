/** The activity shows each phase; Cancel ends each phase at once and keeps downloaded data (docs/downloads.md). */

import type { Page } from '@playwright/test'
import { expect, generate, model, modelReady, openPage, state, test } from './ui/page-harness.js'

test('a download shows total bytes, speed, remaining time and each file; the second time, everything is cached; then each phase is shown, with the memory in use and the budget', async ({
  page,
  server,
}) => {
  // At this speed the download would take many minutes; the test removes the limit after these checks.
  server.setFaults({ bytesPerSecond: 5000 })
  await openPage(page, server, { offload: 'model', 'max-memory': '3GB' })
  await expect(page.getByText('Downloading', { exact: true }).first()).toBeVisible()
  await expect(page.getByText(/^[\d.]+ of [\d.]+ MB · [\d.]+ [kM]B\/s · .+ left$/)).toBeVisible()
  await page.getByText(/^\d+ files$/).click()
  const row = page.getByRole('listitem').filter({ hasText: 'unet/diffusion_pytorch_model-00001-of-00003.safetensors' })
  await expect(row).toHaveText(/[\d.]+ of [\d.]+ [kM]B|queued/)
  const phases = page.evaluate(
    () =>
      new Promise<readonly string[]>((resolve) => {
        const seen = new Set<string>()
        const box = document.querySelector('aquatint-prompt')
        box?.addEventListener('progress', ({ detail }) => {
          if (detail.type === 'file') seen.add(detail.file.phase)
        })
        box?.addEventListener('load', () => resolve([...seen]))
      }),
  )
  server.setFaults({})
  server.dropConnections()
  expect(await phases).toEqual(expect.arrayContaining(['downloading', 'complete']))

  await page.addInitScript(() => {
    document.addEventListener('DOMContentLoaded', () => {
      const observer = new MutationObserver((changes) => {
        for (const { addedNodes } of changes)
          for (const { textContent } of addedNodes) document.documentElement.dataset['said'] += `${textContent}\n`
      })
      const line = document.querySelector('aquatint-prompt')?.shadowRoot?.querySelector('.details')
      if (line !== null && line !== undefined) observer.observe(line, { childList: true, characterData: true, subtree: true })
    })
  })
  await page.reload()
  await modelReady(page)
  expect(await page.evaluate(() => document.documentElement.dataset['said'])).toContain('· all cached')

  // The page reports the load of each component, encoding, steps and decoding.
  await page.evaluate(() => {
    const root = document.querySelector('aquatint-prompt')?.shadowRoot
    for (const [part, name] of [
      ['.headline', 'headlines'],
      ['.place', 'places'],
      ['.numbers', 'numbers'],
    ] as const) {
      const element = root?.querySelector(part)
      if (element === null || element === undefined) throw new Error(`no ${part}`)
      new MutationObserver((changes) => {
        for (const { addedNodes } of changes)
          for (const { textContent } of addedNodes)
            document.body.dataset[name] = `${document.body.dataset[name] ?? ''}${textContent}\n`
      }).observe(element, { childList: true })
    }
  })
  await generate(page, 'a red apple')
  const { headlines, places, numbers } = await page.evaluate(() => {
    const { headlines, places, numbers } = document.body.dataset
    return { headlines, places, numbers }
  })
  for (const words of [
    /^Loading the text encoder$/m,
    /^Loading the UNet$/m,
    /^Loading the image decoder$/m,
    /^Encoding the prompt/m,
    /^Denoising · step 1 of 3$/m,
    /^Decoding the picture$/m,
    /^Done in [\d.]+ s$/m,
  ])
    expect(headlines).toMatch(words)
  // The box may not show every component: a new memory report replaces one that was not yet sent to the page.
  expect(places).toMatch(/^In memory: (text encoder|UNet|image decoder)$/m)
  expect(numbers).toMatch(/^[\d.]+ [kM]B in use · peak [\d.]+ [kM]B · budget 3\.00 GB$/m)
})

type Moment = 'resolving' | 'downloading' | 'encoding' | 'weights' | 'denoising' | 'decoding'

/** Presses Cancel when the page first reports a phase. Resolves when the box is idle again; rejects if a picture is made nevertheless. */
function cancelAt(page: Page, moment: Moment): Promise<void> {
  return page.evaluate(
    (wanted) =>
      new Promise<void>((resolve, reject) => {
        const box = document.querySelector('aquatint-prompt')
        const button = box?.shadowRoot?.querySelector<HTMLButtonElement>('[part=cancel]')
        if (box === null || button === null || button === undefined) throw new Error('no box')
        let pressed = false
        box.addEventListener('progress', ({ detail }) => {
          const here = detail.type === 'status' ? detail.phase : detail.type === 'weights' && detail.loaded === 0 ? 'weights' : ''
          if (pressed || here !== wanted) return
          pressed = true
          button.click()
        })
        box.addEventListener('statechange', ({ detail }) => {
          if (pressed && detail !== 'loading' && detail !== 'generating') resolve()
        })
        box.addEventListener('image', () => reject(new Error(`A picture came: ${wanted} was missed or not cancelled`)))
      }),
    moment,
  )
}

/** Faults with which a load never leaves a phase by itself. */
const neverAnswers = {
  resolving: { latencyMs: 86_400_000 },
  downloading: { rules: [{ match: { host: 'cdn' }, stallAfter: 0 }] },
} as const

test('Cancel while resolving or downloading frees the box, though the server never answers, and what was downloaded is kept', async ({
  page,
  server,
}) => {
  await openPage(page, server, { model: 'nobody/nothing' })
  await page.waitForFunction(() => document.querySelector('aquatint-prompt')?.state === 'idle')
  const choose = (id: string) =>
    page.evaluate((name) => {
      const box = document.querySelector('aquatint-prompt')
      if (box !== null) box.model = name
    }, id)
  for (const [moment, id] of [
    ['resolving', model],
    ['downloading', 'fixtures/tiny-sdxl'],
  ] as const) {
    await test.step(moment, async () => {
      server.setRepository(id, `${id}/repo`)
      server.setFaults(neverAnswers[moment])
      await choose(id)
      const cancelled = cancelAt(page, moment)
      await page.getByRole('button', { name: 'Generate' }).click()
      await cancelled
      expect(await state(page)).toBe('idle')
      await expect(page.getByText('Cancelled', { exact: true }).first()).toBeVisible()
      server.setFaults({})
      await generate(page, 'a red apple')
    })
  }

  await test.step('what was downloaded is kept', async () => {
    server.setRepository('fixtures/tiny-sd3', 'fixtures/tiny-sd3/repo')
    // One file never arrives, so the load cannot end before it is cancelled.
    server.setFaults({ rules: [{ match: { path: 'vae/diffusion_pytorch_model.safetensors' }, stallAfter: 0 }] })
    const stored = page.evaluate(
      () =>
        new Promise<string>((resolve) => {
          const box = document.querySelector('aquatint-prompt')
          let cancelled = false
          box?.addEventListener('progress', ({ detail }) => {
            if (cancelled || detail.type !== 'file' || detail.file.phase !== 'complete') return
            if (!detail.file.path.endsWith('.safetensors')) return
            cancelled = true
            box.cancel()
            resolve(detail.file.path)
          })
        }),
    )
    await choose('fixtures/tiny-sd3')
    await page.getByRole('button', { name: 'Generate' }).click()
    const path = await stored
    await expect(page.getByText('Downloaded data is kept')).toBeVisible()
    expect(await state(page)).toBe('idle')
    server.setFaults({})
    const sent = server.log.length
    await generate(page, 'a red apple')
    const again = server.log.slice(sent).map(({ file }) => file)
    expect(again).not.toContain(path)
    expect(again.length).toBeGreaterThan(0)
  })
})

test('Cancel while encoding, reading weights, denoising or decoding ends the generation, and the next picture is made', async ({
  page,
  server,
}) => {
  await openPage(page, server)
  await modelReady(page)
  const sent = server.log.length
  for (const moment of ['encoding', 'weights', 'denoising', 'decoding'] as const) {
    await test.step(moment, async () => {
      // A reloaded page reads the weights again.
      if (moment === 'weights') {
        await page.reload()
        await modelReady(page)
      }
      await page.evaluate(
        (steps) => {
          const box = document.querySelector('aquatint-prompt')
          if (box !== null) box.settings = { ...box.settings, prompt: 'a boat', numInferenceSteps: steps }
          // With 500 steps, only a cancelled generation ends soon.
        },
        moment === 'denoising' ? 500 : 2,
      )
      const cancelled = cancelAt(page, moment)
      await page.getByRole('button', { name: 'Generate' }).click()
      await cancelled
      expect(await state(page)).toBe('ready')
      await expect(page.getByText('Cancelled', { exact: true }).first()).toBeVisible()
      await page.evaluate(() => {
        const box = document.querySelector('aquatint-prompt')
        if (box !== null) box.settings = { ...box.settings, numInferenceSteps: 2 }
      })
      await generate(page, 'a red apple')
    })
  }
  // The files were stored whole, so nothing is requested again.
  expect(server.log.slice(sent).filter(({ file }) => file !== undefined)).toEqual([])
})
