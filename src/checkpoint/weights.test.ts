import { expect, test } from 'vitest'
import type { Repository } from '../hub/types.js'
import { parseModelIndex } from './layouts/model-index.js'
import { float32File, memoryRepository } from './testing.js'
import { chooseWeightFiles } from './weight-files.js'
import type { WeightLibrary } from './types.js'
import { checkShardName, parseWeightIndex } from './weight-index.js'
import type { CheckpointNote } from './types.js'
import { measureWeights, readWeightTable } from './weight-table.js'
import { parseConfig, readConfig } from './read-config.js'

const bytes = (text: string) => new TextEncoder().encode(text)
const choose = (
  paths: string[],
  library: WeightLibrary,
  variant: string | null,
  missingVariant: 'fallback' | 'strict' = 'fallback',
) => chooseWeightFiles(paths, { folder: 'unet', library, variant, missingVariant })

test('chooses the files that diffusers and transformers choose', () => {
  const index = 'unet/diffusion_pytorch_model.safetensors.index.json'
  const single = 'unet/diffusion_pytorch_model.safetensors'
  const index16 = 'unet/diffusion_pytorch_model.safetensors.index.fp16.json'
  const legacy16 = 'unet/diffusion_pytorch_model.safetensors.fp16.index.json'
  const single16 = 'unet/diffusion_pytorch_model.fp16.safetensors'
  const all = [index, single, index16, legacy16, single16, 'unet/config.json', `vae/${single.slice(5)}`]
  expect(choose(all, 'diffusers', null)).toEqual({ kind: 'index', path: index, variant: null })
  expect(choose([single, single16], 'diffusers', null)).toEqual({ kind: 'single', path: single, variant: null })
  expect(choose(all, 'diffusers', 'fp16')).toEqual({ kind: 'index', path: index16, variant: 'fp16' })
  expect(choose([legacy16, single16, single], 'diffusers', 'fp16')).toEqual({ kind: 'index', path: legacy16, variant: 'fp16' })
  expect(choose([single16, index], 'diffusers', 'fp16')).toEqual({ kind: 'single', path: single16, variant: 'fp16' })
  expect(choose([single], 'diffusers', 'fp16')).toEqual({ kind: 'single', path: single, variant: null })
  expect(() => choose([single], 'diffusers', 'fp16', 'strict')).toThrow(expect.objectContaining({ code: 'variant-not-found' }))
  expect(() => choose([single16, index16], 'diffusers', null)).toThrow(
    expect.objectContaining({ code: 'variant-not-found', details: { folder: 'unet', variant: null, available: ['fp16'] } }),
  )
  const text = [
    'unet/model.safetensors',
    'unet/model.safetensors.index.json',
    'unet/model.fp16.safetensors',
    'unet/model.safetensors.index.fp16.json',
  ]
  expect(choose(text, 'transformers', null).path).toBe(text[0])
  expect(choose(text.slice(1), 'transformers', null).path).toBe(text[1])
  expect(choose(text, 'transformers', 'fp16').path).toBe(text[2])
  expect(choose(text.slice(3), 'transformers', 'fp16').path).toBe(text[3])
  expect(
    chooseWeightFiles(['diffusion_pytorch_model.safetensors'], { folder: '', library: 'diffusers', missingVariant: 'strict' })
      .path,
  ).toBe('diffusion_pytorch_model.safetensors')
  expect(() => choose(['unet/diffusion_pytorch_model.bin'], 'diffusers', null)).toThrow(
    expect.objectContaining({ code: 'pickle-weights' }),
  )
  expect(() => choose(['unet/config.json'], 'diffusers', null)).toThrow(expect.objectContaining({ code: 'weights-not-found' }))
  expect(() => choose(all, 'diffusers', '../x')).toThrow(expect.objectContaining({ code: 'variant-name' }))
})

test.each([
  '',
  '../a.safetensors',
  'a/b.safetensors',
  'a\\b.safetensors',
  '/a.safetensors',
  'https:a.safetensors',
  '%2e%2e%2fa.safetensors',
  '%252e%252e%252fa.safetensors',
  '%25252fa.safetensors',
  'a%00.safetensors',
  'a\n.safetensors',
  '%zz.safetensors',
  'a%5cb.safetensors',
  '.safetensors',
  'a..safetensors',
  'a.safetensors?x',
  'a.safetensors%3fx',
  'a.bin',
  `${'a'.repeat(300)}.safetensors`,
  'a%3ab.safetensors',
  '%2fa.safetensors',
  'a\ud800.safetensors',
])('refuses the shard name %j', (name) => {
  expect(() => checkShardName(name, 'index')).toThrow(expect.objectContaining({ code: 'shard-name' }))
})

test.each(['model-00001-of-00002.safetensors', 'model.fp16-00001-of-00002.safetensors', 'a b.safetensors', 'a%20b.safetensors'])(
  'accepts the shard name %j',
  (name) => expect(() => checkShardName(name, 'index')).not.toThrow(),
)

function code(text: string): number | string {
  try {
    return parseWeightIndex(bytes(text), 'index').size
  } catch (error) {
    return (error as { code: string }).code
  }
}

test('refuses an index with wrong contents', () => {
  expect(code('{"metadata":{},"weight_map":{"a":"a.safetensors"}}')).toBe(1)
  expect(code('{"weight_map":{}}')).toBe('index-count')
  expect(code('{"weight_map":[]}')).toBe('index-weight-map')
  expect(code('{"weight_map":{"a":1}}')).toBe('index-weight-map')
  const many = Object.fromEntries(Array.from({ length: 10_001 }, (_, i) => [`t${i}`, `${i}.safetensors`]))
  expect(code(JSON.stringify({ weight_map: many }))).toBe('index-shards')
})

const index = (map: Record<string, string>) => JSON.stringify({ metadata: { total_size: 1 }, weight_map: map })

test('joins shards, opened together, and compares the index with their headers', async () => {
  const file = (map: Record<string, string>) =>
    memoryRepository({
      'unet/i.json': index(map),
      'unet/1.safetensors': float32File({ a: [2, 3], b: [4] }),
      'unet/2.safetensors': float32File({ c: [5] }),
    })
  const path = 'unet/i.json'
  const read = async (map: Record<string, string>) => {
    const notes: CheckpointNote[] = []
    const table = await readWeightTable(file(map), { kind: 'index', path, variant: null }, { onNote: (note) => notes.push(note) })
    return { tensors: [...table.keys()].toSorted(), notes }
  }

  const good = { a: '1.safetensors', b: '1.safetensors', c: '2.safetensors' }
  const repository = file(good)
  const table = await readWeightTable(repository, { kind: 'index', path: 'unet/i.json', variant: null })
  expect([...table.keys()].toSorted()).toEqual(['a', 'b', 'c'])
  expect(table.get('c')?.source).toBe(repository.sources.get('unet/2.safetensors'))
  expect(measureWeights(table)).toEqual({ bytes: 60, parameters: 15 })

  // diffusers loads each of these: it reads all tensors of all shards that the index names.
  expect(await read(good)).toEqual({ tensors: ['a', 'b', 'c'], notes: [] })
  expect(await read({ ...good, d: '2.safetensors' })).toMatchObject({
    tensors: ['a', 'b', 'c'],
    notes: [{ code: 'index-mismatch', values: { d: 'listed in 2.safetensors, and in no shard' } }],
  })
  expect(await read({ ...good, c: '1.safetensors', a: '2.safetensors' })).toMatchObject({
    tensors: ['a', 'b', 'c'],
    notes: [
      {
        code: 'index-mismatch',
        values: {
          c: 'listed in 1.safetensors, and taken from 2.safetensors',
          a: 'listed in 2.safetensors, and taken from 1.safetensors',
        },
      },
    ],
  })
  await expect(read({ ...good, c: '3.safetensors' })).rejects.toMatchObject({
    code: 'shard-missing',
    details: { shards: ['unet/3.safetensors'] },
  })
  expect(await read({ a: '1.safetensors', c: '2.safetensors' })).toEqual({ tensors: ['a', 'b', 'c'], notes: [] })

  const twice = memoryRepository({
    'i.json': index({ a: '1.safetensors', b: '2.safetensors' }),
    '1.safetensors': float32File({ a: [1] }),
    '2.safetensors': float32File({ a: [1], b: [1] }),
  })
  const notes: CheckpointNote[] = []
  const last = await readWeightTable(
    twice,
    { kind: 'index', path: 'i.json', variant: null },
    { onNote: (note) => notes.push(note) },
  )
  // As in diffusers, the last shard by name counts.
  expect(last.get('a')?.source).toBe(twice.sources.get('2.safetensors'))
  expect(notes.map(({ code }) => code)).toEqual(['index-mismatch'])
})

test('refuses JSON files that are too long before opening them', async () => {
  const limits: Record<string, number | undefined> = {}
  const files = memoryRepository({
    'config.json': '{}',
    'i.json': index({ a: '1.safetensors' }),
    '1.safetensors': float32File({ a: [1] }),
  })
  const repository: Repository = {
    ...files,
    open: (path, options) => {
      limits[path] = options?.maxBytes
      return files.open(path)
    },
  }
  await readConfig(repository, 'config.json')
  await readWeightTable(repository, { kind: 'index', path: 'i.json', variant: null })
  expect(limits).toEqual({ 'config.json': 10_000_000, 'i.json': 12_500_000, '1.safetensors': undefined })
})

test('a shard shorter than its header says is refused', async () => {
  const repository = memoryRepository({ 'model.safetensors': float32File({ a: [100] }).slice(0, -4) })
  await expect(readWeightTable(repository, { kind: 'single', path: 'model.safetensors', variant: null })).rejects.toMatchObject({
    code: 'safetensors-offsets',
    details: { tensor: 'a' },
  })
})

test('reads configs as Python writes them', () => {
  const config = parseConfig(
    bytes('{"lambda_min_clipped": -Infinity, "x": [NaN, Infinity, 1e-05], "a": 1, "a": 2, "__proto__": 3}'),
    'c',
  )
  expect(config.lambda_min_clipped).toBe(Number.NEGATIVE_INFINITY)
  expect(config.x).toEqual([Number.NaN, Number.POSITIVE_INFINITY, 1e-5])
  expect(config.a).toBe(2)
  expect(Object.getPrototypeOf(config)).toBe(null)
  // Keys that are numbers, as tokenizer_config.json and id2label have them: of two equal keys the last one counts.
  const numbered = parseConfig(bytes('{"a": [[], [1, [2]], "\\u00e9é"], "49407": {"7": 8}, "0": 1, "0": 2, "1e3": 3}'), 'c')
  expect(Object.entries(numbered)).toEqual([
    ['0', 2],
    ['49407', { 7: 8 }],
    ['a', [[], [1, [2]], 'éé']],
    ['1e3', 3],
  ])
  expect(() => parseConfig(bytes('[1]'), 'c')).toThrow(expect.objectContaining({ code: 'config-not-object' }))
  expect(() => parseConfig(bytes('{"a": 01}'), 'c')).toThrow(expect.objectContaining({ code: 'json-syntax' }))
  expect(() => parseConfig(new Uint8Array(10_000_001), 'c')).toThrow(expect.objectContaining({ code: 'json-too-large' }))
})

test('sorts model_index.json into class, components and options', () => {
  const index = parseModelIndex(
    parseConfig(
      bytes(
        JSON.stringify({
          _class_name: 'StableDiffusionXLPipeline',
          _diffusers_version: '0.42.1',
          _name_or_path: 'x',
          unet: ['diffusers', 'UNet2DConditionModel'],
          image_encoder: [null, null],
          force_zeros_for_empty_prompt: true,
        }),
      ),
      'model_index.json',
    ),
  )
  expect(index.className).toBe('StableDiffusionXLPipeline')
  expect([...index.components]).toEqual([
    ['unet', { library: 'diffusers', className: 'UNet2DConditionModel' }],
    ['image_encoder', null],
  ])
  expect(index.options).toEqual({ force_zeros_for_empty_prompt: true })
  const refused = (json: object) => {
    try {
      parseModelIndex(parseConfig(bytes(JSON.stringify(json)), 'm'))
      return 'accepted'
    } catch (error) {
      return (error as { code: string }).code
    }
  }
  expect(refused({ unet: ['a', 'b'] })).toBe('model-index-class')
  expect(refused({ _class_name: 'X' })).toBe('model-index-components')
  expect(refused({ _class_name: 'X', '../unet': ['a', 'b'] })).toBe('model-index-components')
  // The pipeline is Python code in the repository.
  expect(refused({ _class_name: ['pipeline', 'StableDiffusionPipeline'], unet: ['a', 'b'] })).toBe('unsupported-class')
  const odd = parseModelIndex(
    parseConfig(bytes(JSON.stringify({ _class_name: 'X', '../unet': ['a', 'b'], vae: ['a', 'b'] })), 'm'),
  )
  expect([[...odd.components.keys()], odd.notes]).toEqual([
    ['vae'],
    [expect.objectContaining({ code: 'component-unknown', values: { '../unet': 'ignored' } })],
  ])
})
