/**
 * Who may import whom: one row per folder of src/. `node scripts/import-table.mjs --write` puts the rows into .oxlintrc.json as rules;
 * scripts/import-table.test.ts checks that they are there and that oxlint enforces them. Tests, `*.node.ts` and `testing*.ts` may import anything.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { posix } from 'node:path'
import { argv } from 'node:process'
import { fileURLToPath } from 'node:url'

/**
 * What the files directly in a folder may import besides each other, `errors` and `util`: other folders (their own files, not their
 * subfolders') or single files, without extension. `types` may be imported with `import type` only.
 * @typedef {{ values?: readonly string[], types?: readonly string[], packages?: readonly string[] }} Row
 */

const hub = ['hub', 'hub/repositories', 'hub/http', 'hub/downloads', 'hub/cache']
const checkpoint = [
  'checkpoint',
  'checkpoint/layouts',
  'checkpoint/layouts/single-file',
  'checkpoint/lora',
  'checkpoint/transforms',
]
const networks = ['models/layers', 'models/text-encoders', 'models/unets', 'models/transformers', 'models/autoencoders']
const models = ['models', ...networks]
const schedulers = ['schedulers', 'schedulers/alphas', 'schedulers/sigmas', 'schedulers/solvers']
/** Everything below the pipelines, without the inner folders of the runtime. */
export const foundation = [...hub, ...checkpoint, 'onnx', ...models, 'memory', 'runtime', ...schedulers, 'tokenizers']
const loading = ['pipelines/loading', 'pipelines/loading/adapters']
const pipelineRooms = [
  'pipelines/planning',
  'pipelines/execution',
  ...loading,
  'pipelines/images',
  'pipelines/prompts',
  'pipelines/generation',
  'pipelines/families',
]
const planning = [...foundation, 'pipelines', 'pipelines/planning']
const execution = [...planning, 'pipelines/execution']
const generationParts = [...execution, ...loading, 'pipelines/images', 'pipelines/prompts']
const inWorker = [...foundation, 'pipelines', ...pipelineRooms]

/** @type {Record<string, Row>} */
export const importTable = {
  util: {},
  hub: { values: ['hub/http', 'hub/downloads', 'hub/cache'] },
  'hub/http': { values: ['hub'] },
  'hub/cache': { values: ['hub'] },
  'hub/downloads': { values: ['hub', 'hub/http', 'hub/cache'] },
  'hub/repositories': { values: ['hub', 'hub/http', 'hub/cache'] },
  checkpoint: { types: ['hub/types', 'onnx/types'] },
  'checkpoint/layouts': { values: ['checkpoint'], types: ['hub/types', 'checkpoint/transforms'] },
  'checkpoint/layouts/single-file': {
    values: ['checkpoint', 'checkpoint/layouts'],
    types: ['hub/types', 'checkpoint/transforms'],
  },
  'checkpoint/lora': { values: ['checkpoint'], types: ['hub/types', 'onnx/types'] },
  'checkpoint/transforms': { values: ['checkpoint'], types: ['hub/types'] },
  onnx: {},
  models: { values: ['onnx', ...networks], types: ['checkpoint/types'] },
  'models/layers': { values: ['onnx', 'models'], types: ['checkpoint/types'] },
  'models/text-encoders': { values: ['onnx', 'models', 'models/layers'], types: ['checkpoint/types'] },
  'models/unets': { values: ['onnx', 'models', 'models/layers'], types: ['checkpoint/types'] },
  'models/transformers': { values: ['onnx', 'models', 'models/layers'], types: ['checkpoint/types'] },
  'models/autoencoders': { values: ['onnx', 'models', 'models/layers'], types: ['checkpoint/types'] },
  memory: { values: ['checkpoint/element-types'], types: ['checkpoint/types', 'onnx/types'] },
  runtime: {
    values: ['memory', 'runtime/webgpu', 'runtime/wasm', 'checkpoint/element-types'],
    types: ['hub/types', 'checkpoint/types', 'onnx/types'],
    packages: ['onnxruntime-web'],
  },
  'runtime/webgpu/kernels': { values: [], types: ['memory'] },
  'runtime/webgpu': {
    values: ['memory', 'runtime', 'runtime/webgpu/kernels', 'checkpoint/element-types'],
    types: ['checkpoint/types', 'onnx/types'],
    packages: ['onnxruntime-web'],
  },
  'runtime/wasm': {
    values: ['memory', 'runtime', 'checkpoint/element-types'],
    types: ['checkpoint/types', 'onnx/types'],
    packages: ['onnxruntime-web'],
  },
  schedulers: { values: ['schedulers/alphas', 'schedulers/sigmas', 'schedulers/solvers'] },
  'schedulers/alphas': { values: ['schedulers'] },
  'schedulers/sigmas': { values: ['schedulers'] },
  'schedulers/solvers': { values: ['schedulers'] },
  tokenizers: {},
  pipelines: { values: [...foundation, 'pipelines/loading', 'pipelines/generation', 'pipelines/families'] },
  'pipelines/planning': { values: [...foundation, 'pipelines'] },
  'pipelines/execution': { values: planning },
  'pipelines/loading/adapters': { values: [...foundation, 'pipelines'] },
  'pipelines/loading': { values: [...execution, 'pipelines/loading/adapters'] },
  'pipelines/images': { values: execution },
  'pipelines/prompts': { values: [...execution, 'pipelines/loading'] },
  'pipelines/generation': { values: generationParts, types: ['component-names'] },
  'pipelines/families': { values: [...generationParts, 'pipelines/generation'] },
  engine: { values: inWorker, types: ['engine/engine.worker'], packages: ['comlink'] },
  'engine/client': {
    values: ['engine/protocol', 'engine/life-lock', 'engine/page-worker', 'component-names'],
    types: [...inWorker, 'engine/engine.worker'],
    packages: ['comlink'],
  },
  ui: { values: ['index', 'ui/page', 'ui/parts', 'ui/prompt'], types: ['ui/prompt/form'] },
  'ui/parts': { values: ['index'] },
  'ui/prompt/form': { values: ['index', 'ui/parts'] },
  'ui/prompt/activity': { values: ['index', 'ui/parts'] },
  'ui/prompt/picture': { values: ['index', 'ui/parts'] },
  'ui/prompt': {
    values: ['index', 'ui/parts', 'ui/prompt/form', 'ui/prompt/activity', 'ui/prompt/picture', 'ui/prompt/styles'],
  },
  'ui/page': { values: ['index', 'ui', 'ui/parts', 'ui/prompt'] },
}

/**
 * Single files with a row of their own in place of their folder's.
 * @type {Record<string, Row>}
 */
export const fileTable = {
  'component-names': {},
  'error-codes': {},
  'error-details': { types: ['error-codes'] },
  errors: { types: ['error-codes', 'error-details'] },
  index: { values: ['engine/client', 'component-names'], types: [...inWorker, 'engine'] },
  'hub/cache/shard-cache': { values: ['hub'], packages: ['idb-keyval'] },
}

/** The files that `errors` is made of, which import neither it nor `util`. */
const underErrors = new Set(['error-codes', 'error-details'])

/** The packages that only some folders may import. */
const guarded = ['onnxruntime-web', 'comlink', 'idb-keyval']
const free = ['**/*.test.ts', '**/*.node.ts', '**/testing*.ts']

/**
 * The import patterns, relative to `folder`, for the folders and files of these names.
 * @param {string} folder
 * @param {readonly string[]} names
 */
function specifiers(folder, names) {
  return names.map((name) => {
    const isFile = name in fileTable || /\/(types|element-types|protocol|life-lock|page-worker|engine\.worker)$/.test(name)
    const path = posix.relative(folder, isFile ? `${name}.js` : `${name}/*`)
    return path.startsWith('.') ? path : `./${path}`
  })
}

/**
 * oxlint's rule for one row.
 * @param {string} folder
 * @param {Row} row
 * @param {boolean} isFile
 */
function override(folder, row, isFile, name = folder) {
  const values = [
    ...specifiers(folder, [
      ...(underErrors.has(name) ? [] : ['errors']),
      ...(name === 'errors' || underErrors.has(name) ? [] : ['util']),
      ...(row.values ?? []),
    ]),
  ]
  const types = specifiers(folder, row.types ?? [])
  // A file may import the other files of its folder, except for the worker's script, which is started, not imported. `errors` and its parts
  // may import only what their rows name.
  const anything = ['../**', './*/**', ...(name === 'engine' || name === 'errors' || underErrors.has(name) ? ['./*'] : [])]
  const own = name === 'engine' ? ['!./*', './engine.worker.js'] : []
  const allowed = values.map((path) => `!${path}`)
  const message = `${name} may not import this: see scripts/import-table.mjs.`
  // The order matters: oxlint stops at a pattern group whose negation matches.
  const patterns = [
    ...(types.length === 0
      ? []
      : [
          {
            regex: `^(${types.map((path) => path.replaceAll('.', '\\.').replace('*', '[^/]+')).join('|')})$`,
            allowTypeImports: true,
            message: `${name} may import only types of this: see scripts/import-table.mjs.`,
          },
        ]),
    { group: [...anything, ...own, ...allowed, ...types.map((path) => `!${path}`)], message },
    {
      regex: `^(${guarded.filter((known) => !row.packages?.includes(known)).join('|')})(/|$)`,
      message: 'onnxruntime-web is for runtime, comlink for engine, idb-keyval for the shard cache.',
    },
  ]
  return {
    files: [isFile ? `src/${name}.ts` : `src/${folder}/*`],
    excludeFiles: free,
    rules: { 'no-restricted-imports': ['error', { patterns }] },
  }
}

/** The rules of all rows, in oxlint's form. */
export function importRules() {
  return [
    ...Object.entries(importTable).map(([folder, row]) => override(folder, row, false)),
    ...Object.entries(fileTable).map(([file, row]) => override(posix.dirname(file), row, true, file)),
  ]
}

const configFile = fileURLToPath(new URL('../.oxlintrc.json', import.meta.url))

/** The linter's configuration with the table's rules in it. */
export function withImportRules() {
  const config = JSON.parse(readFileSync(configFile, 'utf8'))
  const others = config.overrides.filter(
    (/** @type {{ files: string[], rules: object }} */ { files, rules }) =>
      !(files[0]?.startsWith('src/') && 'no-restricted-imports' in rules),
  )
  return { ...config, overrides: [...others, ...importRules()] }
}

if (argv[1] === fileURLToPath(import.meta.url) && argv.includes('--write')) {
  writeFileSync(configFile, `${JSON.stringify(withImportRules(), null, 2)}\n`)
}
