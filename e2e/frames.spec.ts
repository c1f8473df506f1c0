/** Frames and pages with strict policies (docs/embedding.md): a picture is made, or one sentence says what the embedding page has to allow. */

import type { FrameLocator, Page } from '@playwright/test'
import { expect, query, site, test } from './ui/page-harness.js'
import { startSite } from './ui/site-server.js'

/** Presses Generate. */
async function press(box: Page | FrameLocator): Promise<void> {
  await box.getByRole('button', { name: 'Generate', exact: true }).click()
}

test('a frame that is sandboxed without allow-forms makes a picture by a click and by Enter', async ({ page, server }) => {
  const frame = (sandbox: string) =>
    `<iframe sandbox="${sandbox}" width="600" height="900" src="${site}/embed.html?${query(server, { prompt: 'a cat' })}"></iframe>`
  const other = await startSite({
    '/': { html: `<!doctype html><title>Frame</title>${frame('allow-scripts allow-same-origin')}` },
  })
  try {
    await page.goto(other.url)
    const box = page.frameLocator('iframe')
    await press(box)
    await expect(box.getByText(/^Done in /).first()).toBeVisible()
    await box.getByText('Settings', { exact: true }).click()
    const seed = box.getByLabel('Seed')
    await seed.fill('11')
    await seed.press('Enter')
    await expect(box.getByRole('img', { name: 'a cat' })).toBeVisible()
    await expect(seed).toHaveValue('11')
  } finally {
    await other.close()
  }
})

/** Policies of a page with the tag, and the words that the tag shows after Generate is pressed. */
const policies = [
  // First: once the model is cached, it is loaded without any request.
  [`connect-src ${site}`, /Content-Security-Policy of the page does not allow connections to http:.*connect-src/],
  ["require-trusted-types-for 'script'; trusted-types aquatint", /^Done in /],
  [
    "require-trusted-types-for 'script'; trusted-types 'none'",
    /does not let Aquatint start its worker.*"aquatint" in trusted-types/,
  ],
  [`script-src ${site}; worker-src blob: ${site}`, /does not allow WebAssembly.*'wasm-unsafe-eval'/],
  [
    `script-src ${site} 'wasm-unsafe-eval'; worker-src 'none'`,
    /worker could not be started.*blob: and the host of the script in worker-src/,
  ],
] as const

test('under a policy the tag works, or says what the policy has to allow', async ({ page, server }) => {
  const tag = `<aquatint-prompt model="fixtures/tiny-sd15" endpoint="${server.url}" device="wasm" steps="1" width="32" height="32" prompt="a cat"></aquatint-prompt>`
  const html = `<!doctype html><title>Policy</title><script type="module" src="${site}/element.js"></script>${tag}`
  const pages = Object.fromEntries(
    policies.map(([policy], at) => [`/${at}`, { html, headers: { 'content-security-policy': policy } }]),
  )
  const other = await startSite(pages)
  try {
    for (const [at, [, words]] of policies.entries()) {
      await page.goto(`${other.url}/${at}`)
      await press(page)
      await expect(page.getByText(words).first()).toBeVisible()
    }
  } finally {
    await other.close()
  }
})
