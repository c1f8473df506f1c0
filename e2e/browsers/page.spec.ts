/**
 * The page in every browser: its colours and layout, a prompt that becomes diffusers' picture, the same from the cache, Cancel, the gallery, a
 * model that does not exist, and what the page says about the machine.
 */

import { readFileSync } from 'node:fs'
import type { FixtureCase } from '../../src/pipelines/testing-cases.js'
import { psnr } from '../ui/made-picture.js'
import type { Tab } from './drivers/types.js'
import { click, fill, find, generate, happens, listen, outcome, polling, see, seeNone } from './elements.js'
import { expect, model, test } from './harness.js'
import { chooseTheme, colours, keepScreenshot, looks, windows } from './looks.js'

const reference = `${model}/reference-1.safetensors`
/** A case without a negative prompt. */
const [, item] = JSON.parse(readFileSync(`${model}/case.json`, 'utf8')) as [FixtureCase, FixtureCase]

/** The page's address with the settings of the fixture. */
function address(site: string, endpoint: string, more: Readonly<Record<string, string>> = {}): string {
  const query = new URLSearchParams({
    model,
    endpoint,
    device: 'wasm',
    steps: String(item.num_inference_steps),
    guidance: String(item.guidance_scale),
    seed: String(item.seed),
    width: String(item.width),
    height: String(item.height),
    prompt: 'a boat',
    ...more,
  })
  return `${site}/?${query.toString()}`
}

/** Sets the number of steps of later runs. */
function setSteps(tab: Tab, count: number): Promise<void> {
  return tab.evaluate((steps) => {
    const box = document.querySelector('aquatint-prompt')
    if (box !== null) box.settings = { ...box.settings, numInferenceSteps: steps }
  }, count)
}

/** Whether a part of the prompt box is in the window as a whole, without scrolling to it. */
function isShown(tab: Tab, part: string): Promise<boolean> {
  return tab.evaluate((selector) => {
    const place = document.querySelector('aquatint-prompt')?.shadowRoot?.querySelector(selector)?.getBoundingClientRect()
    return place !== undefined && place.height > 0 && place.top >= 0 && place.bottom <= innerHeight
  }, part)
}

const ready = (tab: Tab) => tab.waitForFunction(() => document.querySelector('aquatint-prompt')?.state === 'ready', null)

// One test with one page load for all steps: each page load compiles the runtime again, which takes WebKit several seconds.
test('a visit to the page', async ({ engineName, tab, site, server }) => {
  const { light, dark } = colours
  const print = `button[aria-label=${JSON.stringify(`Open: ${item.prompt}`)}]`
  /** Waits until the gallery shows `count` pictures: it changes only when a picture has been stored or deleted. */
  const shows = (count: number) =>
    expect.poll(() => tab.evaluate((selector) => document.querySelectorAll(selector).length, print), polling).toBe(count)

  await test.step('before the first picture, the page has its colours and fits its window', async () => {
    await tab.setViewportSize(windows.wide)
    await tab.goto(address(site, server.url))
    await chooseTheme(tab, 'light')
    await fill(tab, 'textarea#prompt', item.prompt)
    await see(tab, '.headline', 'Ready')
    expect(await looks(tab)).toEqual({ ...light, overflow: 0 })
    await keepScreenshot(tab, engineName, 'idle')
  })

  await test.step('Cancel ends a run between two steps', async () => {
    await setSteps(tab, 900)
    await listen(tab)
    await click(tab, '[part=run]')
    await happens(tab, 'step')
    await click(tab, '[part=cancel]')
    await see(tab, '.headline', 'Cancelled')
    await ready(tab)
    expect((await outcome(tab)).types).not.toContain('image')
    await setSteps(tab, item.num_inference_steps)
  })

  const first = await test.step('the next run makes the picture of diffusers', async () => {
    const made = await generate(tab, item.prompt)
    expect(psnr(made, reference)).toBeGreaterThanOrEqual(50)
    expect(made.types).toEqual(expect.arrayContaining(['progress', 'statechange', 'step', 'image']))
    await see(tab, print)
    return made
  })

  await test.step('with a picture, the page has its colours and fits its window, light and dark', async () => {
    expect(await looks(tab)).toEqual({ ...light, overflow: 0 })
    await keepScreenshot(tab, engineName, 'done')
    await chooseTheme(tab, 'dark')
    expect(await looks(tab)).toEqual({ ...dark, overflow: 0 })
    await keepScreenshot(tab, engineName, 'done-dark')
  })

  await test.step('after a reload at 360 pixels, the page keeps its theme and gallery, fits, and a finger can press its buttons', async () => {
    await shows(1)
    await tab.setViewportSize(windows.narrow)
    server.clearLog()
    await tab.reload()
    await see(tab, print)
    await see(tab, '.headline', 'Ready')
    expect(await looks(tab)).toEqual({ ...dark, overflow: 0 })
    await fill(tab, 'textarea#prompt', item.prompt)
    await keepScreenshot(tab, engineName, 'idle-360')
    // A finger needs a height of 44 pixels.
    for (const button of ['[part=run]', '#theme', '#open-models']) {
      const { width, height } = await see(tab, button)
      expect(height, button).toBeGreaterThanOrEqual(44)
      expect(width, button).toBeGreaterThanOrEqual(24)
    }
  })

  await test.step('after the reload, the same picture is made without a request', async () => {
    const again = await generate(tab, item.prompt)
    expect(again.pixels).toEqual(first.pixels)
    expect(server.log).toEqual([])
  })

  await test.step('a picture of the gallery is opened and deleted', async () => {
    await shows(2)
    await click(tab, print)
    await see(tab, 'dialog dd', model)
    await click(tab, 'dialog button', 'Delete')
    await shows(1)
    await click(tab, print)
    await click(tab, 'dialog button', 'Delete')
    await seeNone(tab, print)
  })
})

test('a visit with a model that does not exist, then with one that does', async ({ engineName, tab, site, server }) => {
  await tab.setViewportSize(windows.wide)
  await tab.goto(`${site}/?${new URLSearchParams({ model: 'nobody/nothing', endpoint: server.url }).toString()}`)

  await test.step('the page says that the model could not be downloaded, and still works', async () => {
    await see(tab, '*', 'The model could not be downloaded')
    expect((await looks(tab)).overflow).toBe(0)
    await keepScreenshot(tab, engineName, 'error', '.message.error')
    const failed = await generate(tab, 'a boat')
    expect(failed.code).toBe('repository-not-found')
    expect(failed.message).toContain('nobody/nothing')
    // The error is below the button: the page scrolls to it.
    await expect.poll(() => isShown(tab, '.message.error'), polling).toBe(true)
    expect((await find(tab, '[part=run]'))?.disabled).toBe(false)
  })

  await test.step('the settings fit their window', async () => {
    await click(tab, '.settings > summary')
    // A list and a field that are side by side have the same height.
    const { height } = await see(tab, '#scheduler')
    expect(height).toBe((await see(tab, '#count')).height)
    expect((await looks(tab)).overflow).toBe(0)
    await keepScreenshot(tab, engineName, 'settings', '.settings')
  })

  await test.step('the page says which GPU the browser offers, or why there is none', async () => {
    const hasGpu = await tab.evaluate(() => 'gpu' in navigator, null)
    await see(tab, `[data-code="${hasGpu ? 'software-adapter' : 'no-webgpu'}"]`)
    await click(tab, '#open-machine')
    await see(tab, 'dialog h2', 'This machine')
    const words = (await see(tab, 'dialog .facts dd')).text
    expect(words).toMatch(hasGpu ? /^software adapter only/ : /^not available$/)
    // The notes about downloaded models. WebKitGTK: when Safari deletes them, and that it cannot be asked to keep them. Firefox: its limit.
    const rules = await tab.evaluate(
      () =>
        Array.from(document.querySelectorAll('dialog .note'), ({ textContent }) => textContent).filter((text) =>
          /downloaded models/.test(text),
        ).length,
      null,
    )
    expect(rules).toBe({ chromium: 0, firefox: 1, webkit: 2 }[engineName])
    expect((await looks(tab)).overflow).toBe(0)
    await keepScreenshot(tab, engineName, 'machine')
  })

  await test.step('on the next visit the page is isolated, so it may share memory between threads, although its host sends no headers', async () => {
    expect(await tab.evaluate(() => self.crossOriginIsolated, null)).toBe(false)
    await tab.evaluate(() => navigator.serviceWorker.ready.then(() => undefined), null)
    await tab.goto(address(site, server.url))
    expect(await tab.evaluate(() => self.crossOriginIsolated, null)).toBe(true)
  })

  await test.step('the page starts the threads of the CPU where the browser can share memory, and the picture is the same', async () => {
    await tab.evaluate(() => {
      const Own = globalThis.Worker
      const started: unknown[] = []
      class Listed extends Own {
        constructor(...start: ConstructorParameters<typeof Own>) {
          super(...start)
          started.push(start[1]?.name)
        }
      }
      Object.assign(globalThis, { started, Worker: Listed })
    }, null)
    expect(psnr(await generate(tab, item.prompt), reference)).toBeGreaterThanOrEqual(50)
    const { started, shares, cores } = await tab.evaluate(
      () => ({
        started: Reflect.get(globalThis, 'started') as unknown[],
        shares: 'SharedArrayBuffer' in globalThis,
        cores: navigator.hardwareConcurrency,
      }),
      null,
    )
    // WebKitGTK has no shared memory, even in an isolated page.
    expect(shares).toBe(engineName !== 'webkit')
    // The name that Emscripten, with which onnxruntime is built, gives each of its threads.
    expect(started.includes('em-pthread')).toBe(shares && cores > 1)
  })
})
