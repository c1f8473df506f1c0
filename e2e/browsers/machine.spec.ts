/** What the page says about the GPU is what the browser has: also without WebGPU, and with WebGPU in pages only. */

import { click, generate, see } from './elements.js'
import { expect, model, test } from './harness.js'

const settings = { steps: '2', width: '32', height: '32', seed: '7' }

test('the page says which GPU the browser offers, or why there is none', async ({ tab, site }) => {
  await tab.goto(site)
  const hasGpu = await tab.evaluate(() => 'gpu' in navigator, null)
  await see(tab, `[data-code="${hasGpu ? 'software-adapter' : 'no-webgpu'}"]`)
  await click(tab, '#open-machine')
  const words = (await see(tab, 'dialog .facts dd')).text
  expect(words).toMatch(hasGpu ? /^software adapter only/ : /^not available$/)
})

test('with WebGPU in pages but not in workers, the page says so, and makes its picture on the CPU', async ({
  engine,
  site,
  server,
}) => {
  test.skip(engine.name !== 'firefox', 'Only Firefox has a setting for it')
  const browser = await engine.launch({ gpuInWorkers: false })
  try {
    const tab = await browser.newTab()
    const query = new URLSearchParams({ model, endpoint: server.url, prompt: 'a boat', ...settings })
    await tab.goto(`${site}/?${query.toString()}`)
    await see(tab, '[data-code="no-worker-gpu"]')
    expect((await generate(tab, 'a red apple')).pixels?.data).toHaveLength(32 * 32 * 4)
    expect(await tab.evaluate(() => document.querySelector('aquatint-prompt')?.pipeline?.info.device.kind, null)).toBe('wasm')
  } finally {
    await browser.close()
  }
})
