/**
 * The first hour of a newcomer, with the commands and snippets of docs/install.md and docs/first-picture.md as they are written: the packed
 * library in an empty folder, an app that Vite builds, the tag and the library on pages of another origin, and the command line. npm uses a registry
 * on this machine.
 */

import { exec } from 'node:child_process'
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { findSnippet } from './docs/read-docs.js'
import { startLocalRegistry } from './ui/local-registry.js'
import { packedLibrary } from './ui/packed.js'
import { expect, site, test } from './ui/page-harness.js'
import { startFolder, startSite } from './ui/site-server.js'

/** The URL of `npm start` in the documents. */
const documented = 'http://127.0.0.1:5173'
const local = (code: string) => code.replaceAll(documented, site)

test('from the package file to a picture: app, tag, plain page and command line', async ({ page }) => {
  const home = mkdtempSync(join(tmpdir(), 'aquatint-newcomer-'))
  const app = join(home, 'app')
  const registry = await startLocalRegistry()
  const npm = async (command: string): Promise<string> => {
    const env = {
      ...process.env,
      npm_config_registry: registry.url,
      npm_config_cache: join(home, 'cache'),
      npm_config_audit: 'false',
    }
    return (await promisify(exec)(command, { cwd: app, env })).stdout
  }
  try {
    // The folder `aquatint` beside the project takes the place of the clone: it has the file that `npm pack` wrote (pack.setup.ts).
    mkdirSync(join(home, 'aquatint'))
    copyFileSync(packedLibrary(), join(home, 'aquatint', basename(packedLibrary())))
    mkdirSync(app)

    let help = ''
    for (const command of findSnippet('npx --no -- aquatint --help', 'sh').code.trim().split('\n')) help = await npm(command)
    expect(help).toContain('inspect')
    const inspected = await npm(`npx --no -- aquatint inspect ${resolve('fixtures/tiny-sd15/repo')} --json`)
    expect(JSON.parse(inspected)).toMatchObject({ ok: true, runs: { ok: true } })

    await npm('npm install vite')
    writeFileSync(join(app, 'vite.config.js'), findSnippet('optimizeDeps', 'js').code)
    writeFileSync(join(app, 'index.html'), findSnippet('src="/main.ts"', 'html').code)
    writeFileSync(join(app, 'main.ts'), local(findSnippet("save('apple.png')", 'ts').code))
    await npm('npx --no -- vite build')
    const built = await startFolder(join(app, 'dist'))
    const [download] = await Promise.all([page.waitForEvent('download'), page.goto(built.url)])
    expect(download.suggestedFilename()).toBe('apple.png')
    await built.close()

    const other = await startSite({ '/': { html: local(findSnippet('<title>My first picture</title>', 'html').code) } })
    await page.goto(other.url)
    await page.getByRole('button', { name: 'Generate' }).click()
    await expect(page.locator('aquatint-prompt').locator('[part~="image"]').first()).toBeVisible({ timeout: 0 })
    await other.close()

    const plain = await startSite({ '/': { html: local(findSnippet('aquatint.js', 'html').code) } })
    await page.goto(plain.url)
    const colours = () =>
      page.locator('canvas').evaluate((canvas: HTMLCanvasElement) => {
        const { data } = canvas.getContext('2d')!.getImageData(0, 0, canvas.width, canvas.height)
        return new Set(new Uint32Array(data.buffer)).size
      })
    await expect.poll(colours, { timeout: 0 }).toBeGreaterThan(100)
    await plain.close()
  } finally {
    await registry.close()
    rmSync(home, { recursive: true })
  }
})
