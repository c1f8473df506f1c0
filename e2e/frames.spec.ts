/** Frames and pages with strict policies (docs/embedding.md): a picture is made, or one sentence says what the embedding page has to allow. */

import type { FrameLocator, Page } from '@playwright/test'
import { expect, query, site, test } from './ui/page-harness.js'
import { startFolder, startSite } from './ui/site-server.js'

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
    await box.getByLabel('Prompt', { exact: true }).fill('a dog')
    const seed = box.getByLabel('Seed')
    await seed.fill('11')
    await seed.press('Enter')
    await expect(box.getByRole('img', { name: 'a dog' })).toBeVisible()
    await expect(seed).toHaveValue('11')
  } finally {
    await other.close()
  }
})

/** Policies of a page with an `<aquatint-prompt>`, and the text that the element shows after Generate is pressed. */
const policies = [
  // This policy is tested first. Later the model is cached, and its load makes no request that the policy could refuse.
  [`connect-src ${site}`, /Content-Security-Policy of the page does not allow connections to http:.*connect-src/],
  ["require-trusted-types-for 'script'; trusted-types aquatint", /^Done in /],
  // This policy trusts scripts by a nonce, and the scripts that they load. The page is cross-origin isolated, too.
  ["script-src 'nonce-r' 'strict-dynamic' 'wasm-unsafe-eval'; object-src 'none'; base-uri 'none'", /^Done in /],
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
  const html = `<!doctype html><title>Policy</title><script type="module" nonce="r" src="${site}/element.js"></script>${tag}`
  const isolated = { 'cross-origin-embedder-policy': 'require-corp', 'cross-origin-opener-policy': 'same-origin' }
  const pages = Object.fromEntries(
    policies.map(([policy], at) => {
      const headers = { 'content-security-policy': policy, ...(policy.includes('nonce') ? isolated : {}) }
      return [`/${at}`, { html, headers }]
    }),
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

/** Every feature that a page can deny to its frames and that the prompt box, the worker or WebGPU could ask for. */
const denied = [
  'cross-origin-isolated',
  'storage-access',
  'clipboard-write',
  'fullscreen',
  'screen-wake-lock',
  'web-share',
  'local-network-access',
  'unload',
]

test('frames without an origin or an address of their own, and one that is denied every permission, make a picture', async ({
  page,
  server,
}) => {
  // A frame with an opaque origin may load module scripts of a site only with this header.
  const open = await startFolder('dist/site', {}, { 'access-control-allow-origin': '*' })
  const frame = (attributes: string, origin: string) => {
    const address = `${origin}/embed.html?${query(server, { prompt: 'a cat', steps: '1' })}`
    return `<!doctype html><title>Frame</title><iframe ${attributes} width="600" height="900" src="${address}"></iframe>`
  }
  const allow = denied.map((feature) => `${feature} 'none'`).join('; ')
  const policy = { 'permissions-policy': denied.map((feature) => `${feature}=()`).join(', ') }
  const box = `<script type="module" src="${open.url}/element.js"></script>
    <aquatint-prompt model="fixtures/tiny-sd15" endpoint="${server.url}" device="wasm" steps="1" width="32" height="32" prompt="a cat"></aquatint-prompt>`
  const data = `<!doctype html><title>Frame</title><iframe width="600" height="900" src="data:text/html,${encodeURIComponent(box)}"></iframe>`
  const other = await startSite({
    '/data': { html: data },
    '/denied': { html: frame(`allow="${allow}"`, site), headers: policy },
    '/opaque': { html: frame('sandbox="allow-scripts"', open.url) },
  })
  try {
    for (const path of ['/denied', '/opaque', '/data']) {
      await page.goto(`${other.url}${path}`)
      const shown = page.frameLocator('iframe')
      await press(shown)
      await expect(shown.getByText(/^Done in /).first()).toBeVisible()
    }
  } finally {
    await other.close()
    await open.close()
  }
})

/** A page with an `<aquatint-prompt>` that loads its model from `endpoint`. */
const tag = (endpoint: string) => ({
  html: `<!doctype html><title>Hosts</title><script type="module" src="${site}/element.js"></script>
    <aquatint-prompt model="a/b" endpoint="${endpoint}" device="wasm" prompt="a cat"></aquatint-prompt>`,
})

test('the error of a failed request names its cause in a browser: no CORS headers, or no such server', async ({ page }) => {
  // This server answers every request, but lets no other origin read the answers.
  const closedToOthers = await startSite({})
  const gone = await startSite({})
  await gone.close()
  const other = await startSite({ '/cors': tag(closedToOthers.url), '/gone': tag(gone.url) })
  const cases = [
    ['/cors', /answers, but does not allow other origins to read its files.*Access-Control-Allow-Origin: http/],
    ['/gone', /cannot be reached\. Check the address and your connection/],
  ] as const
  try {
    for (const [path, words] of cases) {
      await page.goto(`${other.url}${path}`)
      await press(page)
      await expect(page.getByText(words).first()).toBeVisible()
    }
  } finally {
    await other.close()
    await closedToOthers.close()
  }
})
