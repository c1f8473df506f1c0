/**
 * `npm run docs:models`: writes the tables of docs/ that follow from lists in the code (networks, tokenizers, imports) and from the element's manifest, each between two comments of its page. With
 * `--check` it writes nothing and fails if a table differs from what it would write.
 */

import { readFileSync, writeFileSync } from 'node:fs'
import { networkDefinitions } from '../src/models/registry.js'
import type { NetworkDefinition } from '../src/models/types.js'
import { families } from '../src/pipelines/families.js'
import { createScheduler, schedulerClassNames } from '../src/schedulers/registry.js'
import { tokenizerDefinitions } from '../src/tokenizers/registry.js'
import { foundation, importTable } from './import-table.mjs'

/** The tables. To add one, add it here and its two comments to the page. */
const tables: readonly { readonly page: string; readonly name: string; readonly text: () => string }[] = [
  { page: 'docs/networks.md', name: 'networks', text: networkTable },
  { page: 'docs/networks.md', name: 'tokenizers', text: tokenizerTable },
  { page: 'docs/models.md', name: 'families', text: familyTable },
  { page: 'docs/pipelines.md', name: 'pipelines', text: pipelineTable },
  { page: 'docs/pipelines.md', name: 'schedulers', text: schedulerTable },
  { page: 'docs/architecture.md', name: 'imports', text: importsTable },
  { page: 'docs/embedding.md', name: 'attributes', text: attributeTable },
]

/** Writes the pages, or checks them. Returns the exit code. */
export function main(args: readonly string[]): number {
  const written = new Map<string, string>()
  for (const { page, name, text } of tables) {
    const before = written.get(page) ?? readFileSync(page, 'utf8')
    written.set(page, replaceTable(before, page, name, text()))
  }
  const stale = [...written].filter(([page, text]) => readFileSync(page, 'utf8') !== text)
  if (args.includes('--check')) {
    for (const [page] of stale) console.error(`A table of ${page} is out of date: run "npm run docs:models".`)
    return stale.length === 0 ? 0 : 1
  }
  for (const [page, text] of stale) writeFileSync(page, text)
  return 0
}

/** The page with the text between the comments of a table replaced. @throws Error where the page lacks a comment */
function replaceTable(text: string, page: string, name: string, table: string): string {
  const [begin, end] = [`<!-- ${name}: npm run docs:models -->\n`, `<!-- end of ${name} -->`]
  const [from, to] = [text.indexOf(begin), text.indexOf(end)]
  if (from < 0 || to < from) throw new Error(`${page} has no comments "${begin.trim()}" and "${end}"`)
  return `${text.slice(0, from + begin.length)}\n${table}\n${text.slice(to)}`
}

const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |\n`

function markdownTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  return line(head) + line(head.map(() => '---')) + rows.map(line).join('')
}

const code = (names: readonly string[]) => names.map((name) => `\`${name}\``).join(', ')

function networkTable(): string {
  return markdownTable(
    ['class', 'library', 'role', 'inputs', 'outputs', 'weights'],
    networkDefinitions.map((definition) => {
      const { inputs, outputs } = endsOf(definition)
      const weights = [
        definition.quantizable ? 'any type' : 'not quantized',
        ...(definition.fromConfig({}).upcast ? ['computes in float32'] : []),
      ]
      return [`\`${definition.className}\``, definition.library, definition.role, code(inputs), code(outputs), weights.join(', ')]
    }),
  )
}

/** The inputs and outputs of a class's graph in float32, with diffusers' default config. */
function endsOf(definition: NetworkDefinition) {
  const model = definition.fromConfig({})
  const options = { dtype: 'float32', weights: 'input', granularity: 'block' } as const
  const { inputs, outputs } = model.write(model.shapes(model.smallest), options)
  return { inputs: inputs.map(({ name }) => name), outputs: outputs.map(({ name }) => name) }
}

function tokenizerTable(): string {
  return markdownTable(
    ['classes of transformers', 'vocabulary'],
    tokenizerDefinitions.map(({ classNames, readsSentencePiece }) => [
      code(classNames),
      code(['tokenizer.json', ...(readsSentencePiece ? ['spiece.model'] : ['vocab.json` with `merges.txt'])]).replaceAll(
        ', ',
        ' or ',
      ),
    ]),
  )
}

/** The element's attributes as custom-elements.json lists them. */
function attributeTable(): string {
  const { modules } = JSON.parse(readFileSync('custom-elements.json', 'utf8')) as {
    modules: {
      declarations: { attributes: { name: string; type: { text: string }; default?: string; description: string }[] }[]
    }[]
  }
  const attributes = modules.flatMap(({ declarations }) => declarations.flatMap((declaration) => declaration.attributes))
  return markdownTable(
    ['attribute', 'value', 'default', 'what it sets'],
    attributes.map(({ name, type, default: value, description }) => {
      // A pipe inside a cell would end it.
      const values = type.text.split(' | ').map((one) => `\`${one}\``)
      return [`\`${name}\``, values.join(', '), value === undefined ? '' : `\`${value}\``, description]
    }),
  )
}

/** Rows of the import table. Folders with equal rows share one. */
function importsTable(): string {
  const rows = new Map<string, string[]>()
  for (const [folder, { values = [], types = [], packages = [] }] of Object.entries(importTable)) {
    const cells = [shorten(values, folder), shorten(types, folder), packages].map((names) => code(names)).join(' | ')
    rows.set(cells, [...(rows.get(cells) ?? []), folder])
  }
  return markdownTable(
    ['folder', 'may import', 'only types of', 'packages'],
    [...rows].map(([cells, folders]) => [code(folders), cells]),
  )
}

/**
 * Shortens a row's list: all folders of the foundation become `foundation`, and all folders of a top folder become, for example, `hub/*`.
 * The row's own folder `self` may be missing from these.
 */
function shorten(names: readonly string[], self: string): readonly string[] {
  if (foundation.every((folder) => names.includes(folder))) {
    const others = names.filter((folder) => !foundation.includes(folder))
    return ['foundation', ...shorten(others, self)]
  }
  const tops = new Set(names.map((name) => name.split('/')[0] ?? ''))
  return [...tops].flatMap((top) => {
    const own = names.filter((name) => name.split('/')[0] === top)
    const rooms = Object.keys(importTable).filter((folder) => folder.split('/')[0] === top && folder !== self)
    return rooms.length > 1 && rooms.every((room) => own.includes(room)) ? [`${top}/*`] : own
  })
}

/** The networks of a pipeline class, with those that a repository may lack in brackets. */
function networksOf({ networks, optional }: (typeof families)[number]): string {
  return Object.entries(networks)
    .map(([name, classes]) => {
      const text = `${name}: ${classes.map(({ className }) => className).join(' or ')}`
      return optional.some((other) => other === name) ? `(${text})` : text
    })
    .join(', ')
}

function familyTable(): string {
  return markdownTable(
    ['family', 'pipeline class', 'networks (in brackets: may be omitted)'],
    families.map((family) => [family.label, `\`${family.className}\``, networksOf(family)]),
  )
}

/** A default, and that of image to image if it differs. */
function withImage(fromText: number, fromImage = fromText): string {
  return fromImage === fromText ? `${fromText}` : `${fromText}, from an image ${fromImage}`
}

function pipelineTable(): string {
  return markdownTable(
    ['class', 'steps', 'guidance scale', 'strength', 'guidance', 'never used'],
    families.map(({ className, defaults, imageToImage, guidance, ignored }) => [
      `\`${className}\``,
      withImage(defaults.numInferenceSteps, imageToImage.defaults?.numInferenceSteps),
      withImage(defaults.guidanceScale, imageToImage.defaults?.guidanceScale),
      `${imageToImage.strength}`,
      guidance,
      Object.keys(ignored).join(', '),
    ]),
  )
}

function schedulerTable(): string {
  return markdownTable(
    ['class', 'model calls in a step'],
    schedulerClassNames.map((className) => [`\`${className}\``, `${createScheduler(className, {}).scheduler.order}`]),
  )
}
