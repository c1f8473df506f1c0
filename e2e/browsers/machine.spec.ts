/** What the page says about the GPU is what the browser has. */

import { click, see } from './elements.js'
import { expect, test } from './harness.js'

test('the page says which GPU the browser offers, or why there is none', async ({ tab, site }) => {
  await tab.goto(site)
  const hasGpu = await tab.evaluate(() => 'gpu' in navigator, null)
  await see(tab, `[data-code="${hasGpu ? 'software-adapter' : 'no-webgpu'}"]`)
  await click(tab, '#open-machine')
  const words = (await see(tab, 'dialog .facts dd')).text
  expect(words).toMatch(hasGpu ? /^software adapter only/ : /^not available$/)
})
