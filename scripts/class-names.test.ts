/**
 * Checks that each model is named in one place, which oxlint has no rule for: outside the registries and the definitions, no code contains
 * the name of a class of diffusers or transformers, or compares the name of a component.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { networkDefinitions } from '../src/models/registry.js'
import { families } from '../src/pipelines/families.js'
import { schedulerClassNames } from '../src/schedulers/registry.js'
import { tokenizerDefinitions } from '../src/tokenizers/registry.js'

const root = fileURLToPath(new URL('..', import.meta.url))
const classNames = new Set([
  ...networkDefinitions.map(({ className }) => className),
  ...families.map(({ className }) => className),
  ...families.flatMap(({ savedAs = [] }) => savedAs),
  ...schedulerClassNames,
  ...tokenizerDefinitions.flatMap((definition) => definition.classNames),
])
/** The components that pipeline classes differ in. All have a scheduler. */
const components = families.flatMap(({ networks, tokenizers }) => Object.keys(networks).concat(Object.keys(tokenizers)))

const definitions =
  /^src\/(?:models\/(?:text-encoders|unets|transformers|autoencoders)\/|pipelines\/families\/|schedulers\/(?:alphas|sigmas|solvers)\/|tokenizers\/[\w-]+-tokenizer\.ts$|(?:models|schedulers)\/registry\.ts$)/
/** The names that single files and LoRA files have for components and layers. */
const formats = /^src\/checkpoint\/(?:layouts\/single-file|lora)\//
/** Files that name classes as values, each with its reason. */
const valuesOf: Readonly<Record<string, string>> = {
  'bench/memory/published-tables.ts': 'model_index.json of published repositories',
  'bench/step/page.ts': 'the scheduler of the benchmark',
  'src/checkpoint/layouts/single-file/text-encoder-names.ts':
    'the class in the config of a text encoder, which says whether a file’s text projection is used',
  'src/ui/parts/model-settings.ts': 'the schedulers that model cards recommend',
  'src/ui/parts/scheduler-settings.ts': 'a name for people for each scheduler',
  'src/ui/parts/picture-parameters.ts': 'the schedulers behind the names in pictures of the AUTOMATIC1111 web UI',
}

const isForTests = (path: string): boolean => /\.(?:test|spec)\.|\/testing|\.node\.ts$/.test(path)

/** The files' lines without comments, as `path:number: text`. */
function lines(): readonly { readonly path: string; readonly text: string; readonly place: string }[] {
  const paths = ['src', 'cli', 'bench', 'scripts', 'e2e/pages']
    .flatMap((folder) =>
      readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' }).map((path) => `${folder}/${path}`),
    )
    .map((path) => path.replaceAll('\\', '/'))
    .filter((path) => /\.(?:ts|mjs)$/.test(path) && !isForTests(path))
  return paths.flatMap((path) => {
    const code = readFileSync(join(root, path), 'utf8').replace(/\/\*[\s\S]*?\*\//g, (comment) => comment.replace(/[^\n]/g, ''))
    return code.split('\n').map((text, index) => ({ path, text: text.replace(/\/\/ .*$/, ''), place: `${path}:${index + 1}` }))
  })
}

test('class names are in the registries and definitions, and in listed files that name them as values', () => {
  const found = lines().filter(({ text }) => {
    const words = [...text.matchAll(/(['"`])(\w+)\1|^\s*(\w+):/g)].map(([, , quoted, key]) => quoted ?? key ?? '')
    return words.some((word) => classNames.has(word))
  })
  const outside = found.filter(({ path }) => !definitions.test(path))
  expect(found.length).toBeGreaterThan(outside.length + 50)
  expect(outside.filter(({ path }) => !Object.hasOwn(valuesOf, path)).map(({ place }) => place)).toEqual([])
  expect(Object.keys(valuesOf).filter((path) => !outside.some((line) => line.path === path))).toEqual([])
})

test('the names of components are compared in definitions and by the names of file formats alone', () => {
  const name = `['"\`](?:${[...new Set(components)].join('|')})['"\`]`
  const comparison = new RegExp(`(?:[!=]==? |\\bcase |\\.(?:includes|has|startsWith|endsWith)\\()${name}|${name} [!=]==?`)
  const found = lines().filter(({ text }) => comparison.test(text))
  expect(found.some(({ path }) => formats.test(path))).toBe(true)
  expect(found.filter(({ path }) => !definitions.test(path) && !formats.test(path)).map(({ place }) => place)).toEqual([])
})
