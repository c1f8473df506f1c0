/**
 * For tests, in Node: single files made of the tiny fixtures' folders by recipes that the fixture generator checked with diffusers.
 * Not part of the library.
 */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { diskRepository, fixtures } from '../../../pipelines/testing.node.js'
import { elementCount } from '../../../util/element-count.js'
import { safetensorsFile } from '../../testing.js'
import type { Config, SafetensorsDType, TensorEntry, WeightLibrary, WeightTable } from '../../types.js'
import { openFolderComponent } from '../diffusers-folder.js'

/** fixtures/single-files/tiny.json.gz: by fixture, component and original tensor, the operation that makes the tensor, and its operands. */
type Recipes = Readonly<
  Record<string, Readonly<Record<string, Readonly<Record<string, readonly [op: string, ...names: string[]]>>>>>
>

/** fixtures/single-files/full-size.json.gz: for each model, the weight table of each component, and the tensors of the single file. */
type FullSize = Readonly<
  Record<
    string,
    { readonly tables: Readonly<Record<string, string>>; readonly tensors: Readonly<Record<string, readonly number[]>> }
  >
>

/** A tensor of a file to be made. */
interface FileTensor {
  readonly name: string
  readonly dtype: SafetensorsDType
  readonly shape: readonly number[]
  readonly bytes: Uint8Array
}

export const recipes = read('tiny') as Recipes
export const fullSize = read('full-size') as FullSize

function read(name: string): unknown {
  return JSON.parse(gunzipSync(readFileSync(join(fixtures, 'single-files', `${name}.json.gz`))).toString())
}

/** The folders of a tiny fixture as a repository. */
export const folderOf = (fixture: string) => diskRepository(join(fixtures, fixture, 'repo'))

/** A file of the fixtures. */
export const fixtureFile = (path: string) => diskRepository(fixtures).open(path)

/** The weights of a component in a fixture's folder, under the names that diffusers' current classes have. */
export async function folderTable(fixture: string, component: string): Promise<WeightTable> {
  const { files } = await openFolderComponent(folderOf(fixture), component, 'config.json', undefined)
  const library: WeightLibrary = component.startsWith('text_encoder') ? 'transformers' : 'diffusers'
  const table = await (await files.chooseWeights({ library, missingVariant: 'fallback' })).read()
  return new Map([...table.values()].map((entry) => [currentName(entry.name), { ...entry, name: currentName(entry.name) }]))
}

/** A full-size table of fixtures/weight-tables: the config, with its class, and the shapes, without buffers of ids, under the names that Aquatint's networks use. */
export function weightTable(name: string): {
  readonly config: Config
  readonly shapes: Readonly<Record<string, readonly number[]>>
} {
  const published = JSON.parse(readFileSync(join(fixtures, 'weight-tables', `${name}.json`), 'utf8')) as {
    readonly _class_name: string
    readonly config: Config
    readonly tensors: Readonly<Record<string, readonly number[]>>
  }
  const shapes = Object.entries(published.tensors).map(([tensor, shape]) => [currentName(tensor), shape] as const)
  return {
    config: { ...published.config, architectures: [published._class_name] },
    shapes: Object.fromEntries(shapes.filter(([tensor]) => !tensor.endsWith('position_ids'))),
  }
}

const attention = { query: 'to_q', key: 'to_k', value: 'to_v', proj_attn: 'to_out.0' }

function currentName(name: string): string {
  if (/^(?:embeddings|encoder\.layers|final_layer_norm)\./.test(name)) return `text_model.${name}`
  return Object.entries(attention).reduce((now, [old, to]) => now.replace(`attentions.0.${old}.`, `attentions.0.${to}.`), name)
}

/** A fixture as one file, as its family's original code names the tensors. `more`: tensors besides those of the recipes. `rename`: changes the recipes' names. */
export async function singleFileOf(
  fixture: string,
  more: readonly FileTensor[] = [],
  rename?: (name: string) => string,
): Promise<Uint8Array<ArrayBuffer>> {
  const tensors: FileTensor[] = [...more]
  for (const component of Object.keys(recipes[fixture] ?? {})) tensors.push(...(await tensorsOf(fixture, component, rename)))
  return pack(tensors)
}

/** A file of one component of a fixture, under its original names without a prefix, as files of one network have them. */
export async function componentFileOf(fixture: string, component: string): Promise<Uint8Array<ArrayBuffer>> {
  return pack(
    await tensorsOf(fixture, component, (name) => name.replace(/^(?:model\.diffusion_model|first_stage_model|vae)\./, '')),
  )
}

async function tensorsOf(fixture: string, component: string, rename = (name: string) => name): Promise<FileTensor[]> {
  const table = await folderTable(fixture, component)
  const tensors: FileTensor[] = []
  for (const [name, [op, ...names]] of Object.entries(recipes[fixture]?.[component] ?? {})) {
    const parts = names.map((part) => table.get(part)).filter((part) => part !== undefined)
    if (parts.length < names.length) throw new Error(`${fixture} has not all of ${names.join(', ')}.`)
    tensors.push({ name: rename(name), ...(await applyRecipe(op, parts)) })
  }
  return tensors
}

function pack(tensors: readonly FileTensor[]): Uint8Array<ArrayBuffer> {
  let end = 0
  const header: Record<string, unknown> = {}
  for (const { name, dtype, shape, bytes } of tensors)
    header[name] = { dtype, shape, data_offsets: [end, (end += bytes.byteLength)] }
  const file = safetensorsFile(header, end)
  let at = file.byteLength - end
  for (const { bytes } of tensors) {
    file.set(bytes, at)
    at += bytes.byteLength
  }
  return file
}

async function applyRecipe(op: string, parts: readonly TensorEntry[]): Promise<Omit<FileTensor, 'name'>> {
  const [first] = parts
  if (first === undefined) throw new Error('A recipe names no tensor.')
  const { dtype, shape } = first
  const [rows = 0, columns = 0] = shape
  const bytes = Buffer.concat(await Promise.all(parts.map(({ source, begin, end }) => source.read({ begin, end }))))
  if (op === 'join')
    return { dtype, shape: [parts.reduce((sum, part) => sum + (part.shape[0] ?? 0), 0), ...shape.slice(1)], bytes }
  if (op === 'pixel') return { dtype, shape: [...shape, 1, 1], bytes }
  const half = bytes.byteLength / 2
  if (op === 'swap') return { dtype, shape, bytes: Buffer.concat([bytes.subarray(half), bytes.subarray(0, half)]) }
  if (op !== 'turn') return { dtype, shape, bytes }
  const size = bytes.byteLength / elementCount(shape)
  const turned = Buffer.alloc(bytes.byteLength)
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++)
      bytes.copy(turned, (column * rows + row) * size, (row * columns + column) * size, (row * columns + column + 1) * size)
  return { dtype, shape: [columns, rows], bytes: turned }
}
