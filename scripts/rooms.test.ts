/**
 * Checks what oxlint has no rule for: no folder has more than 20 files beside tests, no stylesheet and no Python file has more than 400
 * lines, and no two files of src and cli export the same name.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

const root = fileURLToPath(new URL('..', import.meta.url))
const most = 20
const everywhere = ['src', 'cli', 'bench', 'scripts', 'e2e', 'training', 'fixtures/generator']
const isForTests = (path: string): boolean => /\.(?:test|spec)\.|^testing|\.node\.ts$/.test(basename(path))

/** Source files below these folders that are neither tests nor helpers of tests. */
function sources(...folders: readonly string[]): readonly string[] {
  const paths = folders.flatMap((folder) => {
    return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' }).map((path) => join(folder, path))
  })
  return paths.filter((path) => /\.(?:ts|mjs|css|py)$/.test(path) && !isForTests(path))
}

test(`no folder has more than ${most} files beside tests and folders`, () => {
  const counts = new Map<string, number>()
  for (const path of sources(...everywhere)) counts.set(dirname(path), (counts.get(dirname(path)) ?? 0) + 1)
  expect(counts.size).toBeGreaterThan(50)
  expect([...counts].filter(([, count]) => count > most)).toEqual([])
})

test('no stylesheet and no Python file has more than 400 lines, as oxlint checks for TypeScript', () => {
  const paths = sources(...everywhere).filter((path) => /\.(?:css|py)$/.test(path))
  expect(paths.length).toBeGreaterThan(80)
  const lines = paths.map((path) => [path, readFileSync(join(root, path), 'utf8').trimEnd().split('\n').length] as const)
  expect(lines.filter(([, count]) => count > 400)).toEqual([])
})

test('no two files of src and cli export the same name', () => {
  const places = new Map<string, string[]>()
  for (const path of sources('src', 'cli')) {
    const text = readFileSync(join(root, path), 'utf8')
    for (const [, name = ''] of text.matchAll(/^export (?:abstract |async )?(?:function\*?|class|interface|type|const) (\w+)/gm))
      places.set(name, [...(places.get(name) ?? []), path])
  }
  expect(places.size).toBeGreaterThan(1000)
  const shared = [...places].filter(([, paths]) => new Set(paths).size > 1)
  expect(shared.map(([name, paths]) => `${name}: ${paths.join(', ')}`)).toEqual([])
})
