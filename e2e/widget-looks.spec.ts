/**
 * The prompt box looks the same in every built form: the site, the tag that loads the site's `element.js`, the package in the build of a
 * consumer, and the frame (docs/embedding.md). The test compares the computed colours, borders, fonts and sizes of the box's parts, in light
 * and in dark, in pages with and without `color-scheme`.
 */

import type { Frame, Page } from '@playwright/test'
import { expect, test } from './ui/consumer.js'
import { site } from './ui/page-harness.js'
import { startFolder, startSite } from './ui/site-server.js'

/** The parts that are compared, as selectors in the shadow root. */
const parts = [
  '.box',
  'form',
  '#prompt',
  '#negative',
  '.field label',
  '.start-empty',
  '.pick',
  '#model-select',
  '#model-note',
  '.settings',
  'summary',
  '.summary-text',
  '#width',
  '#scheduler',
  '.with-button button[aria-pressed]',
  '[part=run]',
  '.message',
  '.message-title',
  '.message button',
  '.activity .details',
  '.stages li',
  '.stages .track',
  '.stages .fill',
  '.stages .name',
  '.account',
  '.frame',
  '.stage',
  '.drawing',
] as const

const properties = [
  'color',
  'background-color',
  'border-top',
  'border-left',
  'border-radius',
  'box-shadow',
  'padding',
  'font',
  'font-family',
  'display',
  'opacity',
  'scale',
  'width',
  'height',
] as const

type Looks = Record<string, Record<string, string>>

/** Puts the box into the same state in every form: the same width and fields, the settings open, an error shown. */
async function prepare(frame: Frame): Promise<void> {
  await frame.waitForFunction(() => customElements.get('aquatint-prompt') !== undefined)
  await frame.evaluate(async () => {
    const box = document.querySelector('aquatint-prompt')
    const details = box?.shadowRoot?.querySelector('details.settings')
    if (box === null || !(details instanceof HTMLDetailsElement)) throw new Error('no box')
    box.style.inlineSize = '900px'
    box.models = [{ model: 'me/model', label: 'Mine', note: 'A note.' }]
    box.restore({ prompt: 'a boat', model: '' })
    details.open = true
    await box.generate().catch(() => {})
    box.restore({ prompt: 'a boat', model: 'me/model' })
  })
}

/** The computed styles of every part. */
function looks(frame: Frame): Promise<Looks> {
  return frame.evaluate(
    ([selectors, names]) => {
      const root = document.querySelector('aquatint-prompt')?.shadowRoot
      const read = (selector: string) => {
        const element = root?.querySelector(selector)
        if (element === null || element === undefined) throw new Error(`no ${selector}`)
        const style = getComputedStyle(element)
        return Object.fromEntries(names.map((name) => [name, style.getPropertyValue(name)]))
      }
      return Object.fromEntries(selectors.map((selector) => [selector, read(selector)]))
    },
    [parts, properties] as const,
  )
}

/** Sets the `color-scheme` of the page around the box. */
async function setColorScheme(page: Page, scheme: 'normal' | 'light dark'): Promise<void> {
  await page.evaluate((value) => {
    document.documentElement.style.colorScheme = value
  }, scheme)
}

test('the box looks the same as on the site, in light and dark, in pages with and without color-scheme', async ({
  page,
  consumer,
}) => {
  await page.setViewportSize({ width: 1280, height: 900 })
  await page.goto('/')
  // The page sets the list of models once it knows the machine.
  await page.locator('#notes [data-code]').first().waitFor()
  await prepare(page.mainFrame())
  const reference: Record<'light' | 'dark', Looks> = { light: {}, dark: {} }
  for (const colorScheme of ['light', 'dark'] as const) {
    await page.emulateMedia({ colorScheme })
    reference[colorScheme] = await looks(page.mainFrame())
  }
  const { light, dark } = reference
  // The style sheets set these values. Without this check, the test would pass if every form were unstyled.
  expect(light['[part=run]']).toMatchObject({ 'background-color': 'rgb(143, 71, 32)', color: 'rgb(255, 249, 241)' })
  expect(dark['[part=run]']).toMatchObject({ 'background-color': 'rgb(227, 154, 107)', color: 'rgb(29, 18, 10)' })
  expect(light['#prompt']).toMatchObject({
    'border-top': '1px solid rgb(135, 126, 111)',
    'background-color': 'rgb(253, 250, 244)',
  })
  expect(dark['#prompt']).toMatchObject({ 'border-top': '1px solid rgb(125, 119, 111)', 'background-color': 'rgb(30, 31, 35)' })
  expect(light['.stages .track']).toMatchObject({ height: '4px', 'background-color': 'rgb(221, 212, 196)' })
  expect(light['.message-title']).toMatchObject({ color: 'rgb(156, 43, 31)' })

  const head = '<!doctype html><title>A shop</title>'
  consumer.write({ 'main.ts': "import 'aquatint/element'\n" })
  const dist = consumer.build(`${head}<aquatint-prompt></aquatint-prompt><script type="module" src="/src/main.ts"></script>`)
  const shop = await startSite({
    '/tag': { html: `${head}<script type="module" src="${site}/element.js"></script><aquatint-prompt></aquatint-prompt>` },
    '/frame': {
      html: `${head}<iframe src="${site}/embed.html" style="position: fixed; inset: 0; inline-size: 100%; block-size: 100%; border: 0"></iframe>`,
    },
  })
  const packaged = await startFolder(dist)
  try {
    for (const [form, url] of [
      ['tag', `${shop.url}/tag`],
      ['package', packaged.url],
      ['frame', `${shop.url}/frame`],
    ] as const) {
      await page.goto(url)
      const inner = page.frames().at(-1) ?? page.mainFrame()
      await prepare(inner)
      for (const scheme of ['normal', 'light dark'] as const) {
        await setColorScheme(page, scheme)
        for (const colorScheme of ['light', 'dark'] as const) {
          await page.emulateMedia({ colorScheme })
          // In a page whose `color-scheme` does not allow dark colours, the box is light. The frame is a page of its own, which allows them.
          const expected = scheme === 'normal' && form !== 'frame' ? light : reference[colorScheme]
          expect(await looks(inner), `${form}, page with color-scheme ${scheme}, user prefers ${colorScheme}`).toEqual(expected)
        }
      }
    }
  } finally {
    await shop.close()
    await packaged.close()
  }
})
