/** GGUF files of SDXL from stable-diffusion.cpp: the second text encoder under the converter's names has the weights of the fixture's folder. */

import { expect, test } from 'vitest'
import { readTensorFile } from '../../tensor-file.js'
import { memoryRepository } from '../../testing.js'
import type { TensorEntry } from '../../types.js'
import { namesOf } from './families.js'
import { takeNetwork } from './tensor-pieces.js'
import { folderTable, singleFileOf } from './testing.node.js'

const bytesOf = async ({ source, begin, end }: TensorEntry) => Buffer.from(await source.read({ begin, end }))

/** What the converter makes of the names of OpenCLIP and of SDXL's first text encoder. */
const changes: readonly (readonly [RegExp, string])[] = [
  [/^conditioner\.embedders\.0\.transformer\./, 'cond_stage_model.transformer.'],
  [/^conditioner\.embedders\.1\.model\./, 'cond_stage_model.1.transformer.text_model.'],
  [/text_model\.positional_embedding$/, 'text_model.embeddings.position_embedding.weight'],
  [/text_model\.token_embedding/, 'text_model.embeddings.token_embedding'],
  [/text_model\.ln_final/, 'text_model.final_layer_norm'],
  [/text_model\.transformer\.resblocks/, 'text_model.encoder.layers'],
  [/\.ln_([12])\./, '.layer_norm$1.'],
  [/\.mlp\.c_fc\./, '.mlp.fc1.'],
  [/\.mlp\.c_proj\./, '.mlp.fc2.'],
  [/\.attn\.out_proj\./, '.self_attn.out_proj.'],
  [/\.attn\.in_proj_/, '.self_attn.in_proj.'],
]

const rename = (name: string) => changes.reduce((now, [from, to]) => now.replace(from, to), name)

test.each(['one matrix', 'three matrices'])(
  'the second text encoder has the weights of the folder, with %s of queries, keys and values',
  async (form) => {
    const repository = memoryRepository({ 'model.safetensors': await singleFileOf('tiny-sdxl', [], rename) })
    const { tensors } = await readTensorFile(await repository.open('model.safetensors'), 'model.safetensors')
    const table = new Map(
      [...tensors].flatMap(([name, entry]) => {
        if (form === 'one matrix' || !name.includes('.in_proj.')) return [[name, entry] as const]
        const third = (entry.end - entry.begin) / 3
        return ['q', 'k', 'v'].map((letter, part) => {
          const begin = entry.begin + part * third
          const shape = [entry.shape[0]! / 3, ...entry.shape.slice(1)]
          const own = name.replace('in_proj', `${letter}_proj`)
          return [own, { ...entry, name: own, shape, begin, end: begin + third }] as const
        })
      }),
    )
    const names = namesOf('text_encoder_2', table)
    if (names === undefined) throw new Error('No table has these names.')
    const taken = takeNetwork(names, { architectures: ['CLIPTextModelWithProjection'] }).apply(table)
    const folder = await folderTable('tiny-sdxl', 'text_encoder_2')
    expect([...taken.keys()].toSorted()).toEqual([...folder.keys()].toSorted())
    for (const [name, entry] of folder) expect(await bytesOf(taken.get(name)!)).toEqual(await bytesOf(entry))
    expect(namesOf('text_encoder', table)?.prefix).toBe('cond_stage_model.transformer.')
  },
)
