/** The documents hold together: links lead somewhere, commands and files that they name exist, and every snippet is of a kind that is run. */

import { existsSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { describe, expect, test } from 'vitest'
import { documents, readSnippets } from './read-docs.js'

/** Who runs the snippets of a language. */
const runners: Readonly<Record<string, string>> = {
  sh: 'commands.test.ts',
  ts: 'source-snippets.test.ts where it imports from src, else ../widget-snippets.spec.ts',
  tsx: '../widget-snippets.spec.ts',
  js: 'commands.test.ts a script, ../widget-snippets.spec.ts a setting of Vite',
  html: '../widget-docs.spec.ts',
  http: '../widget-embed.spec.ts',
  text: 'below: a tree of files',
}
const all = [...documents, 'docs/api.md', 'fixtures/README.md', 'bench/RESULTS.md', 'training/README.md']
const { scripts } = JSON.parse(readFileSync('package.json', 'utf8')) as { scripts: Record<string, string> }
const checks = [...readFileSync('scripts/test.mjs', 'utf8').matchAll(/^ {2}'?([\w-]+)'?: (?:\{ command|\{$|vitest\()/gm)].map(
  ([, name = '']) => name,
)

test('every snippet is in a language that something runs', () => {
  const snippets = readSnippets()
  expect(snippets.length).toBeGreaterThan(20)
  expect(snippets.filter(({ language }) => !Object.hasOwn(runners, language))).toEqual([])
})

test('the guides of the README’s list are there, and all of them are in it', () => {
  const readme = readFileSync('README.md', 'utf8')
  expect(documents.filter((file) => file.startsWith('docs/') && !readme.includes(`](${file})`))).toEqual(['docs/dependencies.md'])
})

test('CONTRIBUTING names the checks of npm test', () => {
  const rows = [...readFileSync('CONTRIBUTING.md', 'utf8').matchAll(/^\| (`.*?`) \|/gm)].flatMap(([, cell = '']) =>
    cell.split(', ').map((name) => name.slice(1, -1)),
  )
  expect(checks.length).toBeGreaterThan(10)
  expect(rows).toEqual(checks)
})

describe.each(all)('%s', (file) => {
  const text = readFileSync(file, 'utf8')

  test('its links lead to files and headings that are there', () => {
    const broken = [...text.matchAll(/\]\((?!https?:)([^)\s]+)\)/g)]
      .map(([, link = '']) => link)
      .filter((link) => !leadsSomewhere(file, link))
    expect(broken).toEqual([])
  })

  test('the commands that it names are there', () => {
    const named = [...text.matchAll(/npm (?:run ([\w:-]+)|(start|test)\b)/g)].map(([, run, own]) => run ?? own ?? '')
    expect(named.filter((name) => !Object.hasOwn(scripts, name))).toEqual([])
    const asked = [...text.matchAll(/npm test -- ([\w -]+)`/g)].flatMap(([, names = '']) => names.split(' '))
    expect(asked.filter((name) => !checks.includes(name))).toEqual([])
  })

  test('the files that it names are there', () => {
    const named = [
      ...text.matchAll(/`(?:[\w-]+ )*((?:src|e2e|cli|bench|docs|fixtures|scripts|public|training)\/[\w./-]*[\w/])(?=[`\s])/g),
    ]
    const paths = named.map(([, path = '']) => path)
    expect(paths.filter((path) => !existsSync(path) && !existsSync(`${path}.ts`))).toEqual([])
  })
})

test('the tree in the architecture is the tree on the disk', () => {
  const trees = readSnippets('text')
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

/** Headings as GitHub makes anchors of them. */
function headingsOf(text: string): string[] {
  return [...text.matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
      .replaceAll(' ', '-'),
  )
}
