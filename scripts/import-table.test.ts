/**
 * The import table of docs/architecture.md, as oxlint holds it: `.oxlintrc.json` is copied beside files that import what their folder may and
 * may not, and each import must be let through or refused.
 */
import { spawnSync } from 'node:child_process'
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, posix } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'

const root = fileURLToPath(new URL('..', import.meta.url))
const above = ['hub', 'checkpoint', 'onnx', 'models', 'runtime', 'schedulers', 'tokenizers']
const packages = ['onnxruntime-web', 'onnxruntime-web/wasm', 'comlink', 'idb-keyval']
/** A file of each kind that there is, under `src/`: what it may import of values, and besides of types only. */
const table: Record<string, { values: string[]; types?: string[]; packages?: string[] }> = {
  'errors.ts': { values: [] },
  'index.ts': {
    values: ['errors', 'engine/client'],
    types: [
      'util',
      ...above,
      'pipelines',
      'pipelines/family',
      'engine',
      'engine/engine',
      'engine/protocol',
      'engine/engine.worker',
    ],
  },
  'util/file.ts': { values: ['errors'] },
  'hub/file.ts': { values: ['errors', 'util'] },
  'hub/shard-cache.ts': { values: ['errors', 'util'], packages: ['idb-keyval'] },
  'checkpoint/file.ts': { values: ['errors', 'util'], types: ['hub/types'] },
  'onnx/file.ts': { values: ['errors', 'util'] },
  'models/file.ts': { values: ['errors', 'util', 'onnx', 'onnx/types'], types: ['checkpoint/types'] },
  'runtime/file.ts': {
    values: ['errors', 'util'],
    types: ['hub/types', 'checkpoint/types', 'onnx/types'],
    packages: ['onnxruntime-web', 'onnxruntime-web/wasm'],
  },
  'schedulers/file.ts': { values: ['errors', 'util'] },
  'tokenizers/file.ts': { values: ['errors', 'util'] },
  'pipelines/file.ts': { values: ['errors', 'util', ...above, 'pipelines/family'] },
  'pipelines/family/file.ts': { values: ['errors', 'util', ...above, 'pipelines'] },
  'engine/file.ts': {
    values: ['errors', 'util', ...above, 'pipelines', 'pipelines/family'],
    types: ['engine/engine.worker'],
    packages: ['comlink'],
  },
  'engine/client/file.ts': {
    values: ['errors', 'util', 'engine/protocol'],
    types: [...above, 'pipelines', 'engine', 'engine/engine', 'engine/engine.worker'],
    packages: ['comlink'],
  },
  'ui/file.ts': { values: ['errors', 'util', 'index', 'ui/page', 'ui/parts'] },
  'ui/page/file.ts': { values: ['errors', 'util', 'index', 'ui', 'ui/parts'] },
}
/** What every file tries to import, under `src/` too. */
const outside =
  'errors index util pipelines pipelines/family engine engine/engine engine/engine.worker engine/protocol engine/client'
const targets = [...`${outside} ui ui/page ui/parts hub/types checkpoint/types onnx/types`.split(' '), ...above]

type Case = { file: string; line: string; allowed: boolean }
const cases: Case[] = []
const folder = mkdtempSync(join(tmpdir(), 'import-table-'))
/** `file: line` of each import that oxlint refused. */
const refused = new Set<string>()

beforeAll(() => {
  for (const [file, may] of Object.entries(table)) {
    for (const target of targets) {
      const path = specifier(file, target)
      // How the files of one folder name one another is no row of the table, but for the worker's.
      if (/^\.\/[^/]*$/.test(path) && dirname(file) !== '.' && target !== 'engine/engine.worker') continue
      if (target === file.replace('.ts', '')) continue
      const values = covers(may.values, target)
      cases.push({ file, line: `export * from '${path}'`, allowed: values })
      cases.push({ file, line: `export type * from '${path}'`, allowed: values || covers(may.types ?? [], target) })
    }
    for (const name of packages) {
      const allowed = may.packages?.includes(name) ?? false
      cases.push({ file, line: `export * from '${name}'`, allowed }, { file, line: `void import('${name}')`, allowed })
    }
    cases.push({ file, line: `export * from '${specifier(file, '../e2e/hub-server')}'`, allowed: false })
  }
  for (const file of ['cli/file.ts', 'scripts/file.ts']) {
    for (const target of ['index', 'ui/element', 'hub/hub']) {
      cases.push({ file: `../${file}`, line: `export * from '../src/${target}.js'`, allowed: target === 'hub/hub' })
    }
  }

  copyFileSync(join(root, '.oxlintrc.json'), join(folder, '.oxlintrc.json'))
  for (const file of new Set(cases.map((entry) => entry.file))) {
    const lines = cases.filter((entry) => entry.file === file).map((entry) => entry.line)
    mkdirSync(dirname(join(folder, 'src', file)), { recursive: true })
    writeFileSync(join(folder, 'src', file), lines.join('\n'))
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

test('every folder of src has a row', () => {
  const rows = new Set(Object.keys(table).map((file) => file.split('/')[0]))
  expect(readdirSync(join(root, 'src')).filter((name) => !name.endsWith('.test.ts') && !rows.has(name))).toEqual([])
})

test('what the table forbids is refused', () => {
  const passed = cases.filter(({ file, line, allowed }) => !allowed && !refused.has(`${join('src', file)}: ${line}`))
  expect(passed.map(({ file, line }) => `${file}: ${line}`)).toEqual([])
})

test('what the table allows passes', () => {
  const stopped = cases.filter(({ file, line, allowed }) => allowed && refused.has(`${join('src', file)}: ${line}`))
  expect(stopped.map(({ file, line }) => `${file}: ${line}`)).toEqual([])
  expect(cases.filter(({ allowed }) => allowed).length).toBeGreaterThan(100)
})

/** The path from a file to a target: a folder's name stands for a file in it. */
function specifier(file: string, target: string): string {
  const isFile = /^(errors|index)$|\/(types|protocol|engine|engine\.worker)$/.test(target)
  const path = posix.relative(dirname(file), isFile ? target : `${target}/other`)
  return `${path.startsWith('.') ? '' : './'}${path}.js`
}

function covers(allowed: string[], target: string): boolean {
  return allowed.includes(target) || (above.includes(dirname(target)) && allowed.includes(dirname(target)))
}
