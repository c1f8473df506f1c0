/** The tag on another origin, twice on a page and in forms; and the frame (docs/embedding.md). */

import type { Page } from '@playwright/test'
import type { HubServer } from './hub-server/types.js'
import type { AquatintPrompt } from '../src/ui/element.js'
import { expect, model, site, size, test } from './ui/page-harness.js'
import { startSite, type ServedPage } from './ui/site-server.js'

/** The HTML that a site owner writes. */
function tag(server: HubServer, more = ''): string {
  return `<aquatint-prompt model="${model}" endpoint="${server.url}" device="wasm" steps="2" width="${size}" height="${size}" seed="7" ${more}></aquatint-prompt>`
}

/** Opens a page of another origin. `work` gets the violations of the page's Content-Security-Policy, as console messages. */
async function openSite(page: Page, served: ServedPage, work: (refused: readonly string[]) => Promise<void>): Promise<void> {
  const other = await startSite({ '/': served, '/plain': { html: '<!doctype html><title>Plain</title>' } })
  const refused: string[] = []
  page.on('console', (message) => {
    if (/Content Security Policy|Refused to/.test(message.text())) refused.push(message.text())
  })
  try {
    await page.goto(`${other.url}/`)
    await page.waitForFunction(() => customElements.get('aquatint-prompt') !== undefined)
    await work(refused)
  } finally {
    await other.close()
  }
}

/** Generates a picture in the nth box and returns its pixels. */
function pixels(page: Page, prompt: string, index = 0): Promise<readonly number[]> {
  return page.evaluate(
    async ([text, at]) => {
      const box = document.querySelectorAll('aquatint-prompt')[at]
      if (box === undefined) throw new Error('no box')
      box.settings = { prompt: text }
      const { images } = await box.generate()
      return [...(images[0]?.data ?? [])]
    },
    [prompt, index] as const,
  )
}

test('boxes on a page of another origin', async ({ page, server }) => {
  const html = `<!doctype html><title>Boxes</title>
    <style>button, textarea { padding: 50px !important } aquatint-prompt { --aquatint-accent: rgb(0, 90, 160) } aquatint-prompt::part(run) { text-transform: uppercase }</style>
    ${tag(server)}${tag(server)}
    <form>${tag(server, 'name="picture" required prompt="a boat"')}<button>Send</button></form>
    <section id="styled"><button id="outside">Outside</button>${tag(server)}</section>
    <section id="early">${tag(server)}</section>
    <script>document.querySelector('#early aquatint-prompt').prompt = 'set early'</script><script type="module" src="${site}/element.js"></script>`
  await openSite(page, { html }, async () => {
    await test.step('properties that were set before the script loaded take effect', async () => {
      await expect(page.locator('#early').getByLabel('Prompt', { exact: true })).toHaveValue('set early')
    })

    await test.step('two boxes share one worker, one pipeline and one download', async () => {
      const [first, second] = await Promise.all([pixels(page, 'a red apple', 0), pixels(page, 'a red apple', 1)])
      expect(second).toEqual(first)
      expect(page.workers()).toHaveLength(1)
      expect(
        await page.evaluate(() => {
          const [one, two] = document.querySelectorAll('aquatint-prompt')
          return one?.pipeline !== undefined && one.pipeline === two?.pipeline
        }),
      ).toBe(true)
      const asked = server.log
        .filter(({ kind, file }) => kind === 'resolve' && file?.endsWith('.safetensors') === true)
        .map(({ file }) => file)
      expect(asked).toHaveLength(new Set(asked).size)

      // One box is removed; the other still works.
      await page.evaluate(() => document.querySelector('aquatint-prompt')?.remove())
      expect(await pixels(page, 'a red apple')).toEqual(first)
    })

    await test.step('in a form, a box can be required, submits the picture under its name, and can be reset', async () => {
      const own = page.locator('form aquatint-prompt')
      const form = () =>
        page.evaluate(() => {
          const element = document.querySelector('form')
          const value = element === null ? null : new FormData(element).get('picture')
          return {
            valid: element?.checkValidity(),
            file: value instanceof File ? { name: value.name, type: value.type, some: value.size > 100 } : value,
          }
        })
      expect(await form()).toEqual({ valid: false, file: null })
      await pixels(page, 'a red apple', 1)
      expect(await form()).toEqual({ valid: true, file: { name: 'a-red-apple-7.png', type: 'image/png', some: true } })
      await page.evaluate(() => document.querySelector('form')?.reset())
      expect(await form()).toEqual({ valid: false, file: null })
      await expect(own.getByLabel('Prompt', { exact: true })).toHaveValue('a boat')
      await page.evaluate(() => document.querySelector('form aquatint-prompt')?.setAttribute('disabled', ''))
      await expect(own.getByRole('button', { name: 'Generate' })).toBeDisabled()
    })

    await test.step('the events of a box report progress, its parts and properties are styled from outside, and styles do not leak', async () => {
      const before = await page.locator('#outside').evaluate((button) => getComputedStyle(button).padding)
      const run = page.locator('#styled').getByRole('button', { name: 'Generate' })
      await expect(run).toHaveCSS('background-color', 'rgb(0, 90, 160)')
      await expect(run).toHaveCSS('text-transform', 'uppercase')
      // The page's rules for buttons do not apply inside the box.
      await expect(page.locator('#outside')).toHaveCSS('padding-top', '50px')
      await expect(run).not.toHaveCSS('padding-top', '50px')
      const seen = await page.evaluate(async () => {
        const box = document.querySelector<AquatintPrompt>('#styled aquatint-prompt')
        if (box === null) throw new Error('no box')
        const types: string[] = []
        for (const type of ['load', 'progress', 'step', 'image', 'error', 'statechange'] as const)
          box.addEventListener(type, () => types.push(type))
        box.prompt = 'a red apple'
        await box.generate()
        return types
      })
      expect([...new Set(seen)].sort()).toEqual(['image', 'load', 'progress', 'statechange', 'step'])
      expect(seen.filter((type) => type === 'step')).toHaveLength(3)
      expect(await page.locator('#outside').evaluate((button) => getComputedStyle(button).padding)).toBe(before)
    })
  })
})

test('the frame responds to the messages of its page', async ({ page, server }) => {
  const other = await startSite({ '/': { html: '<!doctype html><title>Framed</title>' } })
  try {
    await page.goto(other.url)
    const query = new URLSearchParams({
      origin: other.url,
      model,
      endpoint: server.url,
      device: 'wasm',
      steps: '2',
      width: String(size),
      height: String(size),
      seed: '7',
    })
    const answer = await page.evaluate(
      ([src, origin]) =>
        new Promise<{ types: string[]; id: unknown; prompt: unknown; files: number }>((resolve, reject) => {
          const frame = document.createElement('iframe')
          const types: string[] = []
          window.addEventListener('message', (event: MessageEvent<Record<string, unknown>>) => {
            if (event.source !== frame.contentWindow || event.origin !== origin) return
            const { type, id, settings, files, message } = event.data
            types.push(String(type))
            if (type === 'ready') {
              frame.contentWindow?.postMessage(
                { aquatint: 1, type: 'generate', id: 'mine', settings: { prompt: 'a red apple' } },
                origin,
              )
            } else if (type === 'image') {
              resolve({ types, id, prompt: (settings as { prompt: unknown }).prompt, files: (files as File[])[0]?.size ?? 0 })
            } else if (type === 'error') reject(new Error(String(message)))
          })
          frame.src = src
          document.body.append(frame)
        }),
      [`${site}/embed.html?${query}`, site] as const,
    )
    expect(answer).toMatchObject({ id: 'mine', prompt: 'a red apple' })
    expect(answer.files).toBeGreaterThan(100)
    expect(answer.types).toEqual(expect.arrayContaining(['ready', 'state', 'step', 'height', 'image']))

    await test.step('the frame reports errors, and can be cancelled', async () => {
      const slow = {
        origin: other.url,
        endpoint: server.url,
        device: 'wasm',
        steps: '500',
        width: String(size),
        height: String(size),
      }
      const answers = await page.evaluate(
        ([src, origin, model]) =>
          new Promise<unknown[]>((resolve) => {
            const frame = document.createElement('iframe')
            const errors: unknown[] = []
            const ask = (message: object) => frame.contentWindow?.postMessage({ aquatint: 1, ...message }, origin)
            window.addEventListener('message', ({ data, source }: MessageEvent<Record<string, unknown>>) => {
              if (source !== frame.contentWindow) return
              if (data['type'] === 'ready') ask({ type: 'generate', id: 'wrong', settings: { prompt: 'a', model: 'no/such' } })
              else if (data['type'] === 'step') ask({ type: 'cancel' })
              else if (data['type'] === 'error') {
                const { id, code, message } = data
                errors.push({ id, code, told: typeof message === 'string' && message.length > 10 })
                if (errors.length === 2) resolve(errors)
                else ask({ type: 'generate', id: 'long', settings: { prompt: 'a', model } })
              }
            })
            frame.src = src
            document.body.append(frame)
          }),
        [`${site}/embed.html?${new URLSearchParams(slow).toString()}`, site, model] as const,
      )
      expect(answers).toEqual([
        { id: 'wrong', code: 'repository-not-found', told: true },
        { id: 'long', code: 'aborted', told: true },
      ])
    })
  } finally {
    await other.close()
  }
})

test('the frame accepts messages from its embedding page only, not from another window of the same origin', async ({ page }) => {
  const asks = `<!doctype html><title>Sibling</title><script>
    addEventListener('message', ({ data }) => {
      parent.frames[0].postMessage({ aquatint: 1, type: 'set', settings: { prompt: data } }, '*')
      parent.postMessage('asked', '*')
    })
  </script>`
  const other = await startSite({ '/': { html: '<!doctype html><title>Framed</title>' }, '/sibling': { html: asks } })
  try {
    await page.goto(other.url)
    await page.evaluate(
      ([src, origin]) =>
        new Promise<void>((resolve) => {
          const frame = document.createElement('iframe')
          const sibling = document.createElement('iframe')
          window.addEventListener('message', ({ data, source }: MessageEvent<unknown>) => {
            if (source === frame.contentWindow && (data as { type?: string }).type === 'ready') {
              sibling.src = '/sibling'
              sibling.addEventListener('load', () => sibling.contentWindow?.postMessage('by a sibling', '*'))
              document.body.append(sibling)
            } else if (data === 'asked') {
              // Messages to a window arrive in order; the message of the sibling was sent before this one.
              frame.contentWindow?.postMessage({ aquatint: 1, type: 'set', settings: { negativePrompt: 'by the page' } }, origin)
              resolve()
            }
          })
          frame.src = src
          document.body.append(frame)
        }),
      [`${site}/embed.html?origin=${other.url}&prompt=untouched`, site] as const,
    )
    const frame = page.frameLocator('iframe').first()
    await expect(frame.getByLabel('Negative prompt')).toHaveValue('by the page')
    await expect(frame.getByLabel('Prompt', { exact: true })).toHaveValue('untouched')
  } finally {
    await other.close()
  }
})

test('a page with another origin than the frame expects gets no messages, and its requests are ignored', async ({ page }) => {
  const other = await startSite({ '/': { html: '<!doctype html><title>Stranger</title>' } })
  try {
    await page.goto(other.url)
    await page.evaluate(
      ([src, origin]) =>
        new Promise<void>((resolve) => {
          const heard: unknown[] = []
          Object.assign(window, { heard })
          window.addEventListener('message', (event) => heard.push(event.data))
          const frame = document.createElement('iframe')
          frame.addEventListener('load', () => {
            frame.contentWindow?.postMessage({ aquatint: 1, type: 'set', settings: { prompt: 'obeyed' } }, origin)
            resolve()
          })
          frame.src = src
          document.body.append(frame)
        }),
      [`${site}/embed.html?origin=https://someone.example&prompt=untouched`, site] as const,
    )
    const frame = page.frameLocator('iframe')
    await expect(frame.getByLabel('Prompt', { exact: true })).toHaveValue('untouched')
    // If the frame accepted the message, its effect would be visible before a later message of the frame itself.
    await frame.locator('aquatint-prompt').evaluate(
      () =>
        new Promise<void>((resolve) => {
          window.addEventListener('message', () => resolve(), { once: true })
          window.postMessage('round')
        }),
    )
    await expect(frame.getByLabel('Prompt', { exact: true })).toHaveValue('untouched')
    // Messages arrive in order: anything that the frame sent earlier arrives before `last`.
    await frame.locator('aquatint-prompt').evaluate(() => parent.postMessage('last', '*'))
    await expect.poll(() => page.evaluate(() => (window as unknown as { heard: unknown[] }).heard)).toEqual(['last'])
  } finally {
    await other.close()
  }
})
