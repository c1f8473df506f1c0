/**
 * Matches the layers of full-size LoRA files with those of the networks: every layer is used, and belongs to the layer that diffusers'
 * converters assign it to (fixtures/lora-keys.json). Under diffusers' own names, every Linear and convolution of the published models can
 * have a branch (fixtures/weight-tables).
 */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { MemorySource, safetensorsFile } from '../checkpoint/testing.js'
import { readLoraFile } from '../checkpoint/lora/lora-file.js'
import type { LoraComponent } from '../checkpoint/lora/lora-keys.js'
import { matchLora, type AdaptableLayers, type MatchedLora } from '../checkpoint/lora/match-lora.js'
import { networkDefinition } from '../models/registry.js'
import type { Config } from '../checkpoint/types.js'
import { elementCount } from '../util/element-count.js'
import { adaptableLayers } from './bind-network.js'
import { fixtures } from './testing.node.js'

type Shape = readonly [out: number, columns: number, ...kernel: number[]]

/** A layer of a file, the shape of its weight, and the layers of diffusers that it contains, each with its first row and its number of rows. */
type ListedLayer = readonly [name: string, shape: Shape, parts: readonly (readonly [string, number, number])[]]

const tables = join(fixtures, 'weight-tables')
const read = (path: string): unknown => JSON.parse(readFileSync(path, 'utf8'))

interface Published {
  readonly _class_name: string
  readonly config: Config
  readonly tensors: Readonly<Record<string, readonly number[]>>
}

const published = (table: string) => read(join(tables, `${table}.json`)) as Published

function layersOf({ _class_name: className, config }: Published): AdaptableLayers {
  return adaptableLayers(networkDefinition(className).fromConfig(config))
}

/** Matches a file that has a branch of rank 1 for each of these layers. `branches`: the shapes of the layers' weights, by the names in the file. */
async function match(
  component: LoraComponent,
  layers: AdaptableLayers,
  branches: ReadonlyMap<string, readonly number[]>,
  [down, up]: readonly [string, string],
): Promise<MatchedLora> {
  let at = 0
  const tensor = (shape: readonly number[]) => ({ dtype: 'F16', shape, data_offsets: [at, (at += 2 * elementCount(shape))] })
  const header = Object.fromEntries(
    [...branches].flatMap(([name, [out = 0, ...inner]]) => [
      [`${name}${down}`, tensor([1, ...inner])],
      [`${name}${up}`, tensor([out, 1, ...inner.slice(1).map(() => 1)])],
    ]),
  )
  const bytes = safetensorsFile(header, 0)
  const lora = await readLoraFile(new MemorySource(bytes, bytes.byteLength + at), 'x.safetensors')
  return matchLora(lora, 'x.safetensors', new Map([[component, layers]]))
}

/** transformers 5 has no `text_model` around the layers of a CLIPTextModel. */
const bare = (layer: string) => layer.replace(/^text_model\./, '')

const forms = read(join(fixtures, 'lora-keys.json')) as Readonly<
  Record<string, readonly (readonly [LoraComponent, table: string, layers: readonly ListedLayer[]])[]>
>

describe.each(Object.entries(forms))('%s', (form, components) => {
  test.each(components)('%s: the names of all layers of %s are recognized', async (component, table, listed) => {
    const ends = form.includes('ai-toolkit')
      ? (['.lora_A.weight', '.lora_B.weight'] as const)
      : (['.lora_down.weight', '.lora_up.weight'] as const)
    const matched = await match(
      component,
      layersOf(published(table)),
      new Map(listed.map(([name, shape]) => [name, shape])),
      ends,
    )
    expect(matched.ignored).toEqual([])
    const found = new Map<string, (readonly [string, number, number])[]>()
    for (const [layer, { module, firstRow, rows }] of matched.components.get(component) ?? []) {
      const name = module.first.name.slice(0, -ends[0].length)
      found.set(name, [...(found.get(name) ?? []), [bare(layer), firstRow, rows]])
    }
    for (const [name, , parts] of listed)
      expect([name, found.get(name)?.toSorted((a, b) => a[1] - b[1])]).toEqual([
        name,
        parts.map(([layer, firstRow, rows]) => [bare(layer), firstRow, rows]),
      ])
  })
})

/** One network of each structure. */
const networks = [
  'sd15-unet',
  'sdxl-unet',
  'sd3-medium-transformer',
  'sd35-medium-transformer',
  'flux-dev-transformer',
  'flux2-klein-4b-transformer',
  'z-image-transformer',
  'sdxl-text-encoder-2',
]

test.each(networks)('%s: every Linear and convolution is found under its own name', async (file) => {
  const one = published(file)
  const own = Object.entries(one.tensors).filter(
    ([name, { length }]) => length > 1 && name.endsWith('.weight') && !/embeddings\./.test(name),
  )
  const component = file.includes('text-encoder') ? 'text_encoder' : 'denoiser'
  const prefix = component === 'denoiser' ? 'transformer' : component
  const branches = new Map(own.map(([name, shape]) => [`${prefix}.${name.slice(0, -'.weight'.length)}`, shape]))
  const matched = await match(component, layersOf(one), branches, ['.lora_A.weight', '.lora_B.weight'])
  expect(matched.ignored.map(({ layer }) => layer)).toEqual([])
  expect(matched.components.get(component)?.size).toBe(branches.size)
})
