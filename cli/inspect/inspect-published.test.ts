/**
 * `aquatint inspect` on published models of 2024 to 2026 at full size. Each weight file is a header without the bytes that follow it, with the names and shapes of
 * diffusers and transformers (fixtures/weight-tables) in the published types. Tokenizers and schedulers are those of the fixtures.
 */

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { Repository } from '../../src/hub/types.js'
import { elementCount } from '../../src/util/element-count.js'
import { fixtures } from '../testing.js'
import { inspectRepository } from './inspect-repository.js'

interface Published {
  readonly _class_name: string
  readonly config: object
  readonly tensors: Readonly<Record<string, readonly number[]>>
}

function published(table: string): Published {
  return JSON.parse(readFileSync(join(fixtures, 'weight-tables', `${table}.json`), 'utf8')) as Published
}

const bytesOf = { BF16: 2, F32: 4, I64: 8 } as const

/** The type of a tensor: Z-Image's transformer is in float32, all others are in bfloat16. A batch norm counts its batches in an integer. */
function dtypeOf({ _class_name: className }: Published, name: string): keyof typeof bytesOf {
  if (name.endsWith('num_batches_tracked')) return 'I64'
  return className === 'ZImageTransformer2DModel' ? 'F32' : 'BF16'
}

/** The header of a file with these tensors, and the bytes of the whole file. */
function headerOf(model: Published): { readonly head: Uint8Array; readonly size: number } {
  let end = 0
  const entries = Object.entries(model.tensors).map(([name, shape]) => {
    const begin = end
    const dtype = dtypeOf(model, name)
    end += bytesOf[dtype] * elementCount(shape)
    return [name, { dtype, shape, data_offsets: [begin, end] }] as const
  })
  const json = Buffer.from(JSON.stringify(Object.fromEntries(entries)))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(json.byteLength))
  const head = Buffer.concat([length, json])
  return { head, size: head.byteLength + end }
}

/** The repository of a fixture, with a published network for each component in `networks`. */
function repositoryOf(id: string, fixture: string, networks: Readonly<Record<string, string>>): Repository {
  const folder = join(fixtures, fixture, 'repo')
  const paths = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
  const kept = paths.map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
  const files = new Map<string, { readonly head: Uint8Array; readonly size: number }>(
    kept
      .filter((path) => !Object.keys(networks).some((component) => path.startsWith(`${component}/`)))
      .map((path) => [path, { head: readFileSync(join(folder, path)), size: readFileSync(join(folder, path)).byteLength }]),
  )
  for (const [component, table] of Object.entries(networks)) {
    const model = published(table)
    const isText = component.startsWith('text_encoder')
    const names = isText ? { architectures: [model._class_name] } : { _class_name: model._class_name }
    const config = Buffer.from(JSON.stringify({ ...names, ...model.config }))
    files.set(`${component}/config.json`, { head: config, size: config.byteLength })
    files.set(`${component}/${isText ? 'model' : 'diffusion_pytorch_model'}.safetensors`, headerOf(model))
  }
  return {
    id,
    revision: 'made',
    files: () => Promise.resolve([...files].map(([path, { size }]) => ({ path, size }))),
    open: (path) => {
      const file = files.get(path)
      if (file === undefined) return Promise.reject(new Error(`There is no ${path}`))
      return Promise.resolve({
        byteLength: file.size,
        read: ({ begin, end }) => {
          // `inspect` may read only the header. A read that begins in the header may end beyond it, where the bytes are zeros.
          if (begin >= file.head.byteLength) return Promise.reject(new Error(`The weights of ${path} were read`))
          const bytes = new Uint8Array(end - begin)
          bytes.set(file.head.subarray(begin, end))
          return Promise.resolve(bytes)
        },
      })
    },
  }
}

const flux1 = { text_encoder: 'sdxl-text-encoder', text_encoder_2: 't5-xxl-encoder', vae: 'flux-vae' }

test.each([
  [
    'black-forest-labs/FLUX.1-schnell',
    'few-steps/flux-schnell',
    { ...flux1, transformer: 'flux-schnell-transformer' },
    33_720_738_758,
  ],
  ['black-forest-labs/FLUX.1-dev', 'tiny-flux', { ...flux1, transformer: 'flux-dev-transformer' }, 33_741_198_278],
  [
    'black-forest-labs/FLUX.2-klein-4B',
    'tiny-flux2-klein',
    { text_encoder: 'qwen3-4b', transformer: 'flux2-klein-4b-transformer', vae: 'flux2-vae' },
    15_964_118_094,
  ],
  [
    'black-forest-labs/FLUX.2-klein-9B',
    'tiny-flux2-klein',
    { text_encoder: 'qwen3-8b', transformer: 'flux2-klein-9b-transformer', vae: 'flux2-vae' },
    34_706_725_966,
  ],
  [
    'Tongyi-MAI/Z-Image-Turbo',
    'tiny-z-image',
    { text_encoder: 'qwen3-4b', transformer: 'z-image-transformer', vae: 'flux-vae' },
    32_832_210_502,
  ],
  [
    'lodestones/Chroma1-HD',
    'tiny-chroma',
    { text_encoder: 't5-xxl-encoder', transformer: 'chroma-transformer', vae: 'flux-vae' },
    27_492_227_526,
  ],
])('the layout of %s runs, with all of its tensors', async (id, fixture, networks, bytes) => {
  const repository = repositoryOf(id, fixture, networks)
  const inspection = await inspectRepository(repository, null, null, new AbortController().signal)
  expect(inspection.runs.problems).toEqual([])
  expect(inspection.runs.ok).toBe(true)
  // A tensor that no graph uses causes a warning, unless the reason is known.
  expect(inspection.runs.warnings).toEqual([])
  for (const { name, weights } of inspection.components) {
    const table = networks[name as keyof typeof networks]
    if (table === undefined) continue
    const model = published(table)
    const all = Object.entries(model.tensors)
    const expected = (['BF16', 'F32', 'I64'] as const).flatMap((dtype) => {
      const shapes = all.flatMap(([tensor, shape]) => (dtypeOf(model, tensor) === dtype ? [shape] : []))
      const elements = shapes.reduce((sum, shape) => sum + elementCount(shape), 0)
      return shapes.length === 0 ? [] : [[dtype, { tensors: shapes.length, elements, bytes: bytesOf[dtype] * elements }] as const]
    })
    expect(weights?.dtypes, name).toEqual(Object.fromEntries(expected))
  }
  expect(inspection.bytes).toBe(bytes)
})
