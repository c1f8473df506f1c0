/**
 * Odd forms of the files of published checkpoints. Forms that diffusers 0.42 loads without a message load here without a note. Aquatint
 * refuses each form that diffusers refuses, with an error code. Each form was tried with diffusers.
 */

import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { openLayout } from '../../checkpoint/layouts/open-layout.js'
import { families } from '../families.js'
import { Run } from '../run.js'
import { diskRepository, fixtures } from '../testing.node.js'
import { findSpec } from './find-pipeline.js'
import { readNetworkHeaders } from './read-network-headers.js'
import { readParts } from './read-parts.js'

const folder = `${fixtures}tiny-sd15/repo`
const text = (path: string) => readFileSync(`${folder}/${path}`, 'utf8')
const json = (path: string) => JSON.parse(text(path)) as Readonly<Record<string, unknown>>
const edited = (path: string, keys: object) => ({ [path]: JSON.stringify({ ...json(path), ...keys }) })
const without = (path: string, key: string) => ({
  [path]: JSON.stringify(Object.fromEntries(Object.entries(json(path)).filter(([name]) => name !== key))),
})
/** A JSON file with an additional first entry. Its value is a number that only Python's JSON parser accepts, such as `Infinity`. */
const python = (path: string, entry: string) => ({ [path]: text(path).replace('{', `{${entry},`) })

async function notesOf(files: Readonly<Record<string, string>>, repository = folder) {
  const run = new Run({})
  const layout = await openLayout(diskRepository(repository, files))
  const parts = await readParts({
    layout,
    spec: findSpec(layout, families, run),
    options: {},
    open: () => Promise.reject(new Error('No other repository is opened')),
    run,
  })
  await readNetworkHeaders({ sources: parts.sources, options: {}, run })
  return run.notes.map(({ component, code }) => [component, code] as const)
}

const [index, scheduler, unet, vae] = [
  'model_index.json',
  'scheduler/scheduler_config.json',
  'unet/config.json',
  'vae/config.json',
]
const tokenizer = 'tokenizer/tokenizer_config.json'
const merges = 'tokenizer/merges.txt'

test.each<readonly [string, Readonly<Record<string, string>>]>([
  ['-Infinity, as DPMSolver’s lambda_min_clipped is written', python(scheduler, '"lambda_min_clipped": -Infinity')],
  ['Infinity in a tokenizer’s config', python(tokenizer, '"max_length": Infinity')],
  ['line ends of Windows', { [unet]: text(unet).replaceAll('\n', '\r\n'), [merges]: text(merges).replaceAll('\n', '\r\n') }],
  ['merges without a line of their version', { [merges]: text(merges).split('\n').slice(1).join('\n') }],
  ['a tokenizer saved as the fast one', edited(index, { tokenizer: ['transformers', 'CLIPTokenizerFast'] })],
  ['a scheduler’s config without a class', without(scheduler, '_class_name')],
  ['a scheduler’s config of another class than model_index.json says', edited(scheduler, { _class_name: 'DDIMScheduler' })],
  ['a UNet’s config without a class', without(unet, '_class_name')],
  [
    'a safety checker that was taken out',
    edited(index, { safety_checker: [null, null], feature_extractor: [null, null], requires_safety_checker: false }),
  ],
  ['private keys of any form', edited(index, { _ignore_files: ['x'], _module: 'y', _name_or_path: null })],
  ['values that are no components', edited(index, { words: 'a', weird: { a: 1 }, n: 5, many: [1, 2, 3], list: ['a'] })],
  [
    'keys that later releases write with their defaults',
    edited(vae, {
      shift_factor: null,
      latents_mean: null,
      latents_std: null,
      use_quant_conv: true,
      mid_block_add_attention: true,
    }),
  ],
  ['what training with EMA leaves in a config', edited(unet, { decay: 0.9999, optimization_step: 5, use_ema_warmup: false })],
  [
    'a tokenizer’s class and code for AutoTokenizer',
    edited(tokenizer, { tokenizer_class: 'X', auto_map: { AutoTokenizer: ['x.Y', null] } }),
  ],
  ['texts for true', edited(scheduler, { skip_prk_steps: 'true' })],
])('loads without a note: %s', async (_, files) => {
  expect(await notesOf(files)).toEqual([])
})

test.each<readonly [string, Readonly<Record<string, string>>, string]>([
  ['the scheduler of Flax', edited(index, { scheduler: ['diffusers', 'FlaxPNDMScheduler'] }), 'unsupported-class'],
  ['no class', edited(index, { _class_name: null }), 'model-index-class'],
  ['a pipeline for ONNX files', edited(index, { _class_name: 'OnnxStableDiffusionPipeline' }), 'unsupported-class'],
  ['a pipeline with a ControlNet', edited(index, { _class_name: 'StableDiffusionControlNetPipeline' }), 'unsupported-class'],
  ['an upscaler', edited(index, { _class_name: 'StableDiffusionUpscalePipeline' }), 'unsupported-class'],
  ['no prediction type', edited(scheduler, { prediction_type: null }), 'unsupported-config'],
  ['an empty list of betas', edited(scheduler, { trained_betas: [] }), 'invalid-config'],
])('refuses as diffusers does: %s', async (_, files, code) => {
  await expect(notesOf(files)).rejects.toMatchObject({ code })
})

// Qwen3-VL is the text encoder of Krea-2 and DreamLite in diffusers, Mistral 3 that of FLUX.2 dev, Gemma 2 that of Lumina 2 and Sana.
test.each(['Qwen3VLForConditionalGeneration', 'Mistral3ForConditionalGeneration', 'Gemma2Model'])(
  'another language model is refused by name: %s',
  async (className) => {
    const klein = `${fixtures}tiny-flux2-klein/repo`
    const model = JSON.parse(readFileSync(`${klein}/${index}`, 'utf8')) as object
    const files = { [index]: JSON.stringify({ ...model, text_encoder: ['transformers', className] }) }
    await expect(notesOf(files, klein)).rejects.toMatchObject({
      code: 'unsupported-class',
      details: { component: 'text_encoder', className, supported: ['Qwen3ForCausalLM', 'Qwen3Model'] },
    })
  },
)
