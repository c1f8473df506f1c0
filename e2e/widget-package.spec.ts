/**
 * Issue 6, promise 8: the package as it is published. It is packed, unpacked into a project of its own beside the dependencies it
 * declares, type-checked and built there by that project's Vite, and makes a picture.
 */

import { execFileSync } from 'node:child_process'
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { expect, model, size, test } from './ui/page-harness.js'
import { startFolder } from './ui/site-server.js'

const repository = resolve('.')
const bin = (path: string) => join(repository, 'node_modules', path)
/** Runs Node on a script; its output is in the error when it fails. */
const node = (cwd: string, ...args: string[]) => execFileSync(process.execPath, args, { cwd, encoding: 'utf8', stdio: 'pipe' })

/** Folder of a project that has the packed package installed, and nothing else but its dependencies. */
let consumer = ''

test.beforeAll(() => {
  consumer = mkdtempSync(join(tmpdir(), 'aquatint-consumer-'))
  node(repository, bin('vite/bin/vite.js'), 'build', '--mode', 'library', '--logLevel', 'error')
  node(repository, bin('typescript/bin/tsc'), '-p', 'tsconfig.types.json')
  // Built above; npm would build it again.
  const npm = process.platform === 'win32' ? 'npm.cmd' : 'npm'
  execFileSync(npm, ['pack', '--ignore-scripts', '--silent', '--pack-destination', consumer], { cwd: repository, stdio: 'pipe' })
  const tarball = readdirSync(consumer).find((name) => name.endsWith('.tgz')) ?? ''
  const installed = join(consumer, 'node_modules', 'aquatint')
  mkdirSync(installed, { recursive: true })
  execFileSync('tar', ['-xzf', join(consumer, tarball), '-C', installed, '--strip-components=1'])
  const { dependencies } = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8')) as {
    dependencies: Record<string, string>
  }
  for (const name of Object.keys(dependencies)) {
    const place = join(consumer, 'node_modules', name)
    mkdirSync(dirname(place), { recursive: true })
    symlinkSync(bin(name), place, 'junction')
  }
})

test.afterAll(() => rmSync(consumer, { recursive: true, force: true }))

const main = `
import { DiffusionPipeline, HubError, isAquatintError, type PipelineProgress } from 'aquatint'
import { AquatintPrompt, type ImageDetail } from 'aquatint/element'

const box: AquatintPrompt = document.createElement('aquatint-prompt')
box.addEventListener('image', ({ detail }) => console.log((detail satisfies ImageDetail).seed))

Object.assign(window, {
  async make(repo: string, endpoint: string): Promise<number[]> {
    const phases: PipelineProgress['type'][] = []
    await using pipeline = await DiffusionPipeline.fromPretrained(repo, { endpoint, device: 'wasm', onProgress: ({ type }) => phases.push(type) })
    const { images } = await pipeline.generate('a red apple', { seed: 7, numInferenceSteps: 2, width: ${size}, height: ${size} })
    return [...(images[0]?.data ?? [])]
  },
  async refuse(endpoint: string): Promise<string> {
    try {
      await DiffusionPipeline.fromPretrained('nobody/nothing', { endpoint })
      return 'loaded'
    } catch (error) {
      return isAquatintError(error) && error instanceof HubError ? error.code : String(error)
    }
  },
  element: () => box instanceof AquatintPrompt && customElements.get('aquatint-prompt') === AquatintPrompt,
})
`

test('the types are right for a strict consumer, also without types of Node or Vite', () => {
  mkdirSync(join(consumer, 'src'), { recursive: true })
  writeFileSync(join(consumer, 'src', 'main.ts'), main)
  writeFileSync(
    join(consumer, 'tsconfig.json'),
    JSON.stringify({
      compilerOptions: {
        target: 'es2022',
        module: 'esnext',
        moduleResolution: 'bundler',
        lib: ['es2024', 'dom', 'dom.iterable', 'dom.asynciterable', 'esnext.disposable'],
        strict: true,
        exactOptionalPropertyTypes: true,
        skipLibCheck: false,
        noEmit: true,
        types: [],
      },
      include: ['src'],
    }),
  )
  node(consumer, bin('typescript/bin/tsc'), '-p', '.')
})

test('a consumer’s own Vite build finds the worker and the wasm, and makes a picture', async ({ page, server }) => {
  mkdirSync(join(consumer, 'src'), { recursive: true })
  writeFileSync(join(consumer, 'src', 'main.ts'), main)
  writeFileSync(
    join(consumer, 'index.html'),
    '<!doctype html><title>Consumer</title><script type="module" src="/src/main.ts"></script>',
  )
  writeFileSync(
    join(consumer, 'vite.config.js'),
    "export default { base: './', worker: { format: 'es' }, build: { target: 'es2023' }, resolve: { preserveSymlinks: false } }\n",
  )
  node(consumer, bin('vite/bin/vite.js'), 'build', '--logLevel', 'error')
  const assets = readdirSync(join(consumer, 'dist', 'assets'))
  expect(assets.filter((name) => name.endsWith('.wasm'))).toHaveLength(3)
  expect(assets.some((name) => name.startsWith('engine.worker'))).toBe(true)

  const site = await startFolder(join(consumer, 'dist'))
  try {
    await page.goto(site.url)
    await page.waitForFunction(() => 'make' in window)
    interface Made {
      make(repo: string, endpoint: string): Promise<number[]>
      refuse(endpoint: string): Promise<string>
      element(): boolean
    }
    const call = [model, server.url] as const
    expect(await page.evaluate(() => (window as unknown as Made).element())).toBe(true)
    expect(await page.evaluate(([repo, endpoint]) => (window as unknown as Made).make(repo, endpoint), call)).toHaveLength(
      size * size * 4,
    )
    expect(await page.evaluate((endpoint) => (window as unknown as Made).refuse(endpoint), server.url)).toBe(
      'repository-not-found',
    )
  } finally {
    await site.close()
  }
})

test('the library’s snippet in the guide runs as it stands', async ({ page, server }) => {
  const [, snippet = ''] = /```ts\n(.*?)```/s.exec(readFileSync('docs/embedding.md', 'utf8')) ?? []
  expect(snippet).toContain("from 'aquatint'")
  writeFileSync(join(consumer, 'src', 'main.ts'), snippet)
  node(consumer, bin('vite/bin/vite.js'), 'build', '--logLevel', 'error')
  // The snippet names a model of the real Hub; its requests end at the look-alike.
  server.setRepository('stable-diffusion-v1-5/stable-diffusion-v1-5', 'fixtures/tiny-sdxl/repo')
  await page.context().route('https://huggingface.co/**', async (route) => {
    const { pathname, search } = new URL(route.request().url())
    await route.fulfill({ response: await route.fetch({ url: `${server.url}${pathname}${search}` }) })
  })
  const site = await startFolder(join(consumer, 'dist'))
  try {
    const download = page.waitForEvent('download', { timeout: 120_000 })
    await page.goto(site.url)
    expect((await download).suggestedFilename()).toBe('dog.png')
    await expect(page.locator('body')).toContainText(/Seed \d+/)
  } finally {
    await site.close()
  }
})

test('publint and attw have nothing to say', () => {
  const installed = join(consumer, 'node_modules', 'aquatint')
  node(repository, bin('publint/src/cli.js'), installed, '--strict')
  const tarball = readdirSync(consumer).find((name) => name.endsWith('.tgz')) ?? ''
  node(repository, bin('@arethetypeswrong/cli/dist/index.js'), join(consumer, tarball), '--profile', 'esm-only')
  expect(existsSync(join(installed, 'custom-elements.json'))).toBe(true)
})

test('the package holds the built files, and nothing of the tests, the fixtures or the site', () => {
  const installed = join(consumer, 'node_modules', 'aquatint')
  const copied = join(consumer, 'listing')
  cpSync(installed, copied, { recursive: true })
  const files = readdirSync(copied, { recursive: true, withFileTypes: true }).flatMap((entry) =>
    entry.isFile()
      ? [
          join(entry.parentPath, entry.name)
            .slice(copied.length + 1)
            .replaceAll('\\', '/'),
        ]
      : [],
  )
  expect(files).toEqual(
    expect.arrayContaining([
      'package.json',
      'README.md',
      'LICENSE',
      'custom-elements.json',
      'dist/library/index.js',
      'dist/library/element.js',
      'dist/library/engine.worker.js',
    ]),
  )
  expect(
    files.filter((file) => /test|fixture|e2e|\.map$|dist\/site|models\//.test(file) && !file.startsWith('dist/library/types/')),
  ).toEqual([])
})
