/**
 * The import table: `.oxlintrc.json` holds the rules that scripts/import-table.mjs makes of it, every folder has a row, and oxlint enforces
 * them. To check that oxlint does, the test copies the configuration beside files that import what their folder may import, and what it may not.
 */
import { spawnSync } from 'node:child_process'
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, posix } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { fileTable, importTable, withImportRules } from './import-table.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))
const packages = ['onnxruntime-web', 'onnxruntime-web/wasm', 'comlink', 'idb-keyval']
/** Files that a row may name one by one. */
const singleFiles = [
  'errors',
  'index',
  'hub/types',
  'checkpoint/types',
  'checkpoint/element-types',
  'onnx/types',
  'engine/protocol',
]
const targets = [...Object.keys(importTable), ...singleFiles, 'engine/engine.worker']
const rows = [
  ...Object.entries(importTable).map(([folder, row]) => ({ file: `${folder}/some-file`, folder, row })),
  ...Object.entries(fileTable).map(([file, row]) => ({ file, folder: posix.dirname(file), row })),
]

interface Case {
  readonly file: string
  readonly line: string
  readonly allowed: boolean
}
const cases: Case[] = []
const folder = mkdtempSync(join(tmpdir(), 'import-table-'))
/** `file: line` of each import that oxlint refused. */
const refused = new Set<string>()

beforeAll(() => {
  for (const { file, folder: from, row } of rows) {
    for (const target of targets) {
      if (target === from || posix.dirname(target) === from || target === file) continue
      const isFolder = target in importTable
      const path = posix.relative(from, isFolder ? `${target}/other` : target)
      const specifier = `${path.startsWith('.') ? '' : './'}${path}.js`
      const always = target === 'errors' || (target === 'util' && file !== 'errors')
      const values = (isFolder ? (row.values?.includes(target) ?? false) : covers(row.values, target)) || always
      const types = isFolder ? (row.types?.includes(target) ?? false) : covers(row.types, target)
      cases.push({ file, line: `export * from '${specifier}'`, allowed: values })
      cases.push({ file, line: `export type * from '${specifier}'`, allowed: values || types })
    }
    for (const name of packages) {
      const allowed = row.packages?.some((known) => name === known || name.startsWith(`${known}/`)) ?? false
      cases.push({ file, line: `export * from '${name}'`, allowed }, { file, line: `void import('${name}')`, allowed })
    }
    const outside = posix.relative(from, '../e2e/hub-server')
    cases.push({ file, line: `export * from '${outside}/server.js'`, allowed: false })
  }
  for (const file of ['../cli/file', '../scripts/file']) {
    for (const target of ['index', 'ui/element', 'hub/hub'])
      cases.push({ file, line: `export * from '../src/${target}.js'`, allowed: target === 'hub/hub' })
  }

  copyFileSync(join(root, '.oxlintrc.json'), join(folder, '.oxlintrc.json'))
  for (const file of new Set(cases.map((entry) => entry.file))) {
    const path = join(folder, 'src', `${file}.ts`)
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, linesOf(file).join('\n'))
  }
  const oxlint = join(root, 'node_modules/oxlint/bin/oxlint')
  const run = spawnSync(process.execPath, [oxlint, '--format=json', '.'], { cwd: folder, encoding: 'utf8', maxBuffer: 1 << 26 })
  const report = JSON.parse(run.stdout) as {
    diagnostics: { code: string; filename: string; labels: { span: { line: number } }[] }[]
  }
  for (const { code, filename, labels } of report.diagnostics) {
    if (code !== 'eslint(no-restricted-imports)') continue
    const line = readFileSync(join(folder, filename), 'utf8').split('\n')[(labels[0]?.span.line ?? 0) - 1]
    refused.add(`${filename}: ${line}`)
  }
})
afterAll(() => rmSync(folder, { recursive: true }))

test('the linter has the rules of the table', () => {
  expect(JSON.parse(readFileSync(join(root, '.oxlintrc.json'), 'utf8'))).toEqual(withImportRules())
})

test('every folder of src with source files has a row', () => {
  const withFiles = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.ts') && !/\.test\.ts$|\.node\.ts$|(^|\/)testing[^/]*\.ts$/.test(path))
    .map((path) => posix.dirname(path.replaceAll('\\', '/')))
  expect([...new Set(withFiles)].filter((name) => name !== '.' && !(name in importTable))).toEqual([])
})

test('what the table forbids is refused', () => {
  const passed = cases.filter((entry) => !entry.allowed && !refused.has(keyOf(entry)))
  expect(passed.map((entry) => keyOf(entry))).toEqual([])
})

test('what the table allows passes', () => {
  const allowed = cases.filter((entry) => entry.allowed)
  expect(allowed.filter((entry) => refused.has(keyOf(entry))).map((entry) => keyOf(entry))).toEqual([])
  expect(allowed.length).toBeGreaterThan(rows.length)
})

/** Whether a row's names cover a single file. */
function covers(names: readonly string[] | undefined, target: string): boolean {
  return names?.some((name) => name === target || name === posix.dirname(target)) ?? false
}

function linesOf(file: string): string[] {
  return cases.filter((entry) => entry.file === file).map(({ line }) => line)
}

function keyOf({ file, line }: Case): string {
  return `${join('src', `${file}.ts`)}: ${line}`
}
