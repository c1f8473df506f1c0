/** The widget in a React page: the component of the guide, in a separate project with the packed package (docs/embedding.md). */

import { findSnippet } from './docs/read-docs.js'
import { expect, size, test } from './ui/consumer.js'
import { startFolder, type SiteServer } from './ui/site-server.js'

/** The source of the page: it renders again around the box when a picture is sent, and can remove the box and show it again. */
const main = `
import { StrictMode, useState } from 'react'
import { createRoot } from 'react-dom/client'
import { PictureForm } from './picture-form.js'

function App() {
  const [sent, setSent] = useState('Nothing sent')
  const [shown, setShown] = useState(true)
  return (
    <>
      {shown && <PictureForm onSend={(picture) => setSent(\`\${picture.name}, \${picture.type}\`)} />}
      <p id="sent">{sent}</p>
      <button onClick={() => setShown(!shown)}>Toggle</button>
    </>
  )
}
const root = document.getElementById('root')
if (root !== null) createRoot(root).render(<StrictMode><App /></StrictMode>)
`
const component = findSnippet('PictureForm', 'tsx').code

test.describe('in a React page', () => {
  let site: SiteServer | undefined

  test.beforeAll(async ({ consumer }) => {
    consumer.link('react', 'react-dom', '@types/react', '@types/react-dom')
    consumer.write({ 'main.tsx': main, 'picture-form.tsx': component })
    expect(consumer.typeErrors()).toBe('')
    const html = '<!doctype html><title>React</title><div id="root"></div><script type="module" src="/src/main.tsx"></script>'
    site = await startFolder(consumer.build(html))
  })
  test.afterAll(() => site?.close())

  test('its properties, events and value work across renders and removals', async ({ page, server }) => {
    server.setRepository('stable-diffusion-v1-5/stable-diffusion-v1-5', 'fixtures/tiny-sdxl/repo')
    await page.context().route('https://huggingface.co/**', async (route) => {
      const { pathname, search } = new URL(route.request().url())
      await route.fulfill({ response: await route.fetch({ url: server.url + pathname + search }) })
    })
    const wrong: string[] = []
    page.on('console', (message) => {
      if (message.type() === 'error') wrong.push(message.text())
    })
    page.on('pageerror', (error) => wrong.push(error.message))
    await page.goto(site?.url ?? '')
    const valid = () => page.evaluate(() => document.querySelector('form')?.checkValidity())

    // The box has the properties that React sets: the model, and `required`.
    await expect(page.getByLabel('Model', { exact: true })).toHaveValue('stable-diffusion-v1-5/stable-diffusion-v1-5')
    expect(await valid()).toBe(false)
    await page.getByRole('button', { name: 'Send' }).click()
    await expect(page.locator('#sent')).toHaveText('Nothing sent')

    await page.getByLabel('Prompt', { exact: true }).fill('a red apple')
    await page.getByText('Settings').click()
    for (const [label, value] of Object.entries({ Width: size, Height: size, Steps: 2, Seed: 7 })) {
      await page.getByLabel(label, { exact: true }).fill(String(value))
    }
    // The output of the guide's component, not one of the box's own.
    const said = page.locator('output:not([for])')
    const steps = page.evaluate(
      () =>
        new Promise<string[]>((resolve) => {
          const texts: string[] = []
          const output = document.querySelector('output')
          new MutationObserver(() => {
            texts.push(output?.textContent ?? '')
            if (texts.at(-1)?.startsWith('Made') === true) resolve(texts)
          }).observe(output ?? document, { childList: true, characterData: true, subtree: true })
        }),
    )
    await page.getByRole('button', { name: 'Generate' }).click()
    // React may render several fast steps at once.
    const drawn = (await steps).filter((text) => text !== 'Made with seed 7')
    expect(['1 of 2', '2 of 2'].filter((text) => drawn.includes(text))).toEqual(drawn)
    await expect(said).toHaveText('Made with seed 7')

    // React's renders did not change the typed text, and the form's value is the picture.
    await expect(page.getByLabel('Prompt', { exact: true })).toHaveValue('a red apple')
    expect(await valid()).toBe(true)
    await page.getByRole('button', { name: 'Send' }).click()
    await expect(page.locator('#sent')).toHaveText('a-red-apple-7.png, image/png')

    // The test fires this step itself, so that React renders it alone.
    await page.locator('aquatint-prompt').evaluate((box) => {
      box.dispatchEvent(new CustomEvent('step', { detail: { step: 2, total: 9 } }))
    })
    await expect(said).toHaveText('3 of 9')

    await page.getByRole('button', { name: 'Toggle' }).click()
    await expect(page.locator('aquatint-prompt')).toHaveCount(0)
    await page.getByRole('button', { name: 'Toggle' }).click()
    expect(await valid()).toBe(false)
    expect(wrong).toEqual([])
  })
})
