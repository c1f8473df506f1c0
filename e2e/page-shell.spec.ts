/** The first paint is small, the page can be installed, and after the first use it generates pictures without a network (docs/offline.md). */

import { gzipSync } from 'node:zlib'
import { readFileSync } from 'node:fs'
import { expect, generate, model, openPage, test } from './ui/page-harness.js'

test.use({ serviceWorkers: 'allow' })

test('the first paint downloads little, and nothing of the runtime; the page can be installed', async ({
  page,
  request,
  context,
}) => {
  const loaded = new Map<string, number>()
  const bodies: Promise<unknown>[] = []
  page.on('response', (response) => {
    const { pathname, hostname, protocol } = new URL(response.url())
    // The page starts a worker with one line of code, from a blob, to find out whether workers have WebGPU.
    if (protocol === 'blob:') return
    expect(hostname).toBe('127.0.0.1')
    bodies.push(
      response.body().then(
        (body) => loaded.set(pathname, gzipSync(body).length),
        () => undefined,
      ),
    )
  })
  await page.goto('/', { waitUntil: 'networkidle' })
  await Promise.all(bodies)
  const paths = [...loaded.keys()]
  expect(paths.filter((name) => /worker-|wasm|models\//.test(name))).toEqual([])
  const bytes = [...loaded].filter(([name]) => /\.(?:js|css|html)$|\/$/.test(name)).reduce((sum, [, size]) => sum + size, 0)
  expect(bytes).toBeGreaterThan(5_000)
  expect(bytes).toBeLessThan(55_000)

  await test.step('the icons in the manifest exist', async () => {
    const href = await page.locator('link[rel=manifest]').getAttribute('href')
    const manifest = (await (await request.get(`/${href}`)).json()) as {
      icons: { src: string; sizes: string; type: string }[]
      start_url: string
    }
    for (const { src, sizes, type } of manifest.icons) {
      const response = await request.get(`/${src}`)
      expect(response.ok()).toBe(true)
      expect(response.headers()['content-type']).toContain(type)
      if (type === 'image/png') {
        const png = await response.body()
        expect(`${png.readUInt32BE(16)}x${png.readUInt32BE(20)}`).toBe(sizes)
      }
    }
  })

  await test.step('the browser finds no installability errors', async () => {
    await page.evaluate(() => navigator.serviceWorker.ready.then(() => undefined))
    const session = await context.newCDPSession(page)
    const { installabilityErrors } = await session.send('Page.getInstallabilityErrors')
    // Tests run in a private window, which does not offer installation.
    expect(installabilityErrors.map(({ errorId }) => errorId).filter((id) => id !== 'in-incognito')).toEqual([])
    const { errors, url } = await session.send('Page.getAppManifest')
    expect(errors).toEqual([])
    expect(url).toMatch(/manifest\.webmanifest$/)
  })

  await test.step('the manifest of the element describes the element', async () => {
    const { modules } = JSON.parse(readFileSync('custom-elements.json', 'utf8')) as {
      modules: [
        {
          declarations: [Record<'attributes' | 'members' | 'events' | 'slots' | 'cssParts' | 'cssProperties', { name: string }[]>]
        },
      ]
    }
    const [{ attributes, members, slots, cssParts, cssProperties }] = modules[0].declarations
    const found = await page.evaluate(() => {
      const box = document.querySelector('aquatint-prompt')
      const root = box?.shadowRoot
      if (box === null || root === null || root === undefined) throw new Error('no box')
      const members: string[] = []
      for (let proto: unknown = Object.getPrototypeOf(box); proto !== HTMLElement.prototype; proto = Object.getPrototypeOf(proto))
        members.push(...Object.getOwnPropertyNames(proto))
      const rules = [...root.adoptedStyleSheets].flatMap((sheet) => [...sheet.cssRules].map(({ cssText }) => cssText)).join('\n')
      return {
        watched: (box.constructor as unknown as { observedAttributes: string[] }).observedAttributes,
        slots: [...root.querySelectorAll('slot')].map(({ name }) => name),
        parts: [...root.querySelectorAll('[part]')].map((element) => element.getAttribute('part') ?? ''),
        properties: [...new Set(rules.match(/(?<=var\()--aquatint-[a-z-]+/g))],
        members,
      }
    })
    expect(names(attributes)).toEqual([...found.watched, 'busy', 'disabled', 'name', 'required'].sort())
    expect(names(slots)).toEqual(found.slots.sort())
    // Parts that appear only with a picture do not exist yet.
    expect(names(cssParts)).toEqual(
      names([...new Set([...found.parts, 'preview', 'image', 'actions'])].map((name) => ({ name }))),
    )
    expect(names(cssProperties)).toEqual(found.properties.sort())
    expect(names(members).filter((name) => !found.members.includes(name))).toEqual([])
  })
})

test('after the first use the page generates pictures without a network', async ({ page, server, context }) => {
  await page.goto('/')
  await page.evaluate(async () => {
    await navigator.serviceWorker.ready
    if (navigator.serviceWorker.controller === null) {
      await new Promise((resolve) => navigator.serviceWorker.addEventListener('controllerchange', resolve, { once: true }))
    }
  })
  await openPage(page, server)
  // A model in the URL is loaded at once.
  await page.waitForFunction(() => document.querySelector('aquatint-prompt')?.state === 'ready')
  expect(await page.evaluate(() => document.querySelector('aquatint-prompt')?.pipeline?.info.repo)).toBe(model)
  await generate(page, 'a red apple')
  await server.close()
  await context.setOffline(true)
  await page.reload()
  await generate(page, 'a blue boat')
  await expect(page.getByRole('img', { name: 'a blue boat' })).toBeVisible()
  const kept = await page.evaluate(async () => {
    const urls: string[] = []
    for (const name of await caches.keys())
      for (const { url } of await (await caches.open(name)).keys()) urls.push(new URL(url).pathname)
    return urls
  })
  expect(kept.filter((path) => /safetensors|models\/|json$/.test(path))).toEqual([])
  expect(kept.some((path) => path.endsWith('.wasm'))).toBe(true)
})

test('a model that made a picture on the first visit makes one on the second visit without a network', async ({
  page,
  context,
}) => {
  // The first run begins before the service worker is ready. The page waits at most three seconds for the service worker; with this
  // script, the page waits without a limit.
  await page.addInitScript(() => {
    const real = window.setTimeout.bind(window)
    const patient = (handler: TimerHandler, delay?: number) => (delay === 3000 ? 0 : real(handler, delay))
    Object.assign(window, { setTimeout: patient })
    addEventListener('load', () => document.querySelector('aquatint-prompt')?.focus())
  })
  await page.goto('/?steps=2')
  await expect(page.locator('aquatint-prompt')).toHaveJSProperty('state', 'ready')
  await generate(page, 'a red apple')
  await context.setOffline(true)
  await page.reload()
  await generate(page, 'a blue boat')
  await expect(page.getByRole('img', { name: 'a blue boat' })).toBeVisible()

  // If the cache lacks the script of the engine's worker, the error says that the browser is offline.
  await page.evaluate(async () => {
    for (const name of await caches.keys()) {
      const cache = await caches.open(name)
      for (const request of await cache.keys()) if (/engine\.worker/.test(request.url)) await cache.delete(request)
    }
  })
  await page.reload()
  await page.getByRole('button', { name: 'Generate', exact: true }).click()
  await expect(page.getByRole('alert')).toContainText('could not be fetched, because the browser is offline')
  await expect(page.getByRole('alert')).toContainText('Connect to the network, then try again.')
})

function names(list: readonly { name: string }[]): string[] {
  return list.map(({ name }) => name).sort()
}
