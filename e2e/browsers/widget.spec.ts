/** `<aquatint-prompt>` on a page of another origin, under the strict Content-Security-Policy of docs/embedding.md, in every browser. */

import { findSnippet } from '../docs/read-docs.js'
import type { HubServer } from '../hub-server/types.js'
import { startSite } from '../ui/site-server.js'
import { expect, model, test } from './harness.js'

const size = 32

/** The Content-Security-Policy of the guide, with the hosts of the test: no inline script or style, no eval, no data: or blob: images. */
function policy(site: string, server: HubServer): string {
  const { code } = findSnippet('wasm-unsafe-eval', 'http')
  expect(code).toMatch(/^Content-Security-Policy: [^\n]+\n$/)
  return code
    .slice(code.indexOf(' '))
    .trim()
    .replaceAll('https://aquatint.example', site)
    .replace('https://huggingface.co', server.url)
    .replace('https://*.hf.co', server.cdnUrl)
}

test('one script tag on another origin, under a strict policy, generates a picture without violations, and leaves nothing else on the page', async ({
  newTab,
  site,
  server,
}) => {
  const box = `<aquatint-prompt model="${model}" endpoint="${server.url}" device="wasm" steps="2" width="${size}" height="${size}" seed="7"></aquatint-prompt>`
  const scripts = `<script src="${site}/-/violations.js"></script><script type="module" src="${site}/element.js"></script>`
  const other = await startSite({
    '/': {
      html: `<!doctype html><title>A shop</title>${scripts}${box}`,
      headers: { 'content-security-policy': policy(site, server) },
    },
    '/plain': { html: '<!doctype html><title>Plain</title>' },
  })
  try {
    const plain = await newTab()
    await plain.goto(`${other.url}/plain`)
    const known = await plain.evaluate(() => Object.getOwnPropertyNames(window), null)
    const tab = await newTab()
    await tab.goto(`${other.url}/`)
    await tab.waitForFunction(() => customElements.get('aquatint-prompt') !== undefined, null)
    const added = await tab.evaluate((names) => Object.getOwnPropertyNames(window).filter((name) => !names.includes(name)), known)
    const pixels = await tab.evaluate(async () => {
      const element = document.querySelector('aquatint-prompt')
      if (element === null) throw new Error('no box')
      element.settings = { prompt: 'a red apple' }
      const { images } = await element.generate()
      return [...(images[0]?.data ?? [])]
    }, null)
    expect(pixels).toHaveLength(size * size * 4)
    expect(new Set(pixels).size).toBeGreaterThan(16)
    expect(added).toEqual([])
    // WebKit requests /favicon.ico from a page that names no icon, and the policy refuses it.
    const violations = async () =>
      (await tab.evaluate(() => document.documentElement.dataset['violations'] ?? '', null))
        .replace(/^img-src .*\/favicon\.ico$/m, '')
        .trim()
    expect(await violations()).toBe('')
    // The list of violations is not empty by accident: an image from another site, which the policy refuses, appears in it.
    await tab.evaluate((src) => document.body.append(Object.assign(new Image(), { src })), `${other.url}/plain`)
    await expect.poll(violations).toContain('img-src')
    const { isolated, adopted, sheets } = await tab.evaluate(
      () => ({
        isolated: self.crossOriginIsolated,
        adopted: document.adoptedStyleSheets.length,
        sheets: document.styleSheets.length,
      }),
      null,
    )
    expect({ isolated, adopted, sheets }).toEqual({ isolated: false, adopted: 0, sheets: 0 })
  } finally {
    await other.close()
  }
})
