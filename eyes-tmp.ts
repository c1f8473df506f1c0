import { chromium } from 'playwright'
import { chromiumLaunchOptions } from './scripts/chromium.mjs'
import { startFolder } from './e2e/ui/site-server.js'
import { startHubServer } from './e2e/hub-server/server.js'
export async function main() {
  const out = '/tmp/eyes/use'
  const server = await startHubServer({ repositories: { 'fixtures/tiny-sd15': 'fixtures/tiny-sd15/repo' } })
  const site = await startFolder('dist/site')
  const browser = await chromium.launch(chromiumLaunchOptions())
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, colorScheme: 'light' })
  const page = await context.newPage()
  page.on('console', (m) => console.log('console', m.type(), m.text().slice(0, 200)))
  page.on('pageerror', (e) => console.log('pageerror', e.message))
  const shot = (n: string, p = page) => p.screenshot({ path: `${out}/${n}.png` })
  await page.goto(`${site.url}/?endpoint=${encodeURIComponent(server.url)}`)
  await page.waitForTimeout(1500)
  console.log(await page.locator('body').ariaSnapshot())
  // keyboard only
  const order: string[] = []
  for (let i = 0; i < 34; i++) {
    await page.keyboard.press('Tab')
    order.push(
      await page.evaluate(() => {
        let e: Element | null = document.activeElement
        while (e?.shadowRoot?.activeElement) e = e.shadowRoot.activeElement
        return `${e?.tagName} ${e?.getAttribute('aria-label') ?? ''} ${(e?.textContent ?? '').trim().slice(0, 30)} ${e?.id}`
      }),
    )
  }
  console.log(order.join('\n'))
  await shot('keyboard')
  // bad names
  await page.reload()
  await page.getByLabel('Model', { exact: true }).selectOption({ label: 'Another model…' })
  const field = page
    .locator('aquatint-prompt')
    .getByRole('textbox', { name: /address|repository|model/i })
    .first()
  for (const bad of [
    'stable difusion',
    'C:\\models\\sd',
    'https://example.com/',
    'nobody/nothing',
    '../x',
    'https://huggingface.co/datasets/foo/bar',
  ]) {
    await field.fill(bad)
    await field.press('Tab')
    await page.waitForTimeout(2500)
    const t = await page.evaluate(() => {
      const r = document.querySelector('aquatint-prompt')!.shadowRoot!
      return [...r.querySelectorAll('.message,.field-error,.note,.headline,[role=alert]')]
        .map((e) => (e as HTMLElement).innerText.trim())
        .filter(Boolean)
    })
    console.log('BAD', bad, JSON.stringify(t))
  }
  await shot('bad')
  await page.getByLabel('Prompt', { exact: true }).fill('a boat')
  await page.getByRole('button', { name: 'Generate' }).click()
  await page.waitForTimeout(2500)
  await shot('bad-generate')
  await context.close()
  await browser.close()
  await site.close()
  await server.close()
}
