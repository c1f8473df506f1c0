/** Text encoders and their tokenizers in whole pipelines, against diffusers: as they were published, and left out. */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { loadPipeline } from '../diffusion-pipeline.js'
import { diskRepository, fixtures, readCases } from '../testing.node.js'
import { caseOptions } from '../testing-cases.js'
import { psnr, relativeError } from '../testing.js'
import type { LoadPipelineOptions } from '../types.js'

const folder = (name: string) => join(fixtures, name, 'repo')
const json = (path: string) => JSON.parse(readFileSync(join(fixtures, path), 'utf8')) as Record<string, unknown>

/** A pipeline on the CPU, with these contents in place of files, and which files of it were opened. */
async function load(name: string, replaced: Record<string, string | null>, components: LoadPipelineOptions['components'] = {}) {
  const repository = diskRepository(folder(name), replaced)
  const pipeline = await loadPipeline(repository, { device: 'wasm', components })
  return { pipeline, opened: repository.opened }
}

/** Runs the first case of tiny-sd3 of which `which` holds, and holds it against diffusers. */
async function compareSD3(
  { pipeline }: Awaited<ReturnType<typeof load>>,
  which: (extra: Readonly<Record<string, unknown>>) => boolean,
): Promise<void> {
  const { item, reference } = readCases('tiny-sd3').find((one) => which(one.item.extra))!
  const { captured = {} } = await pipeline.generate(item.prompt, {
    ...caseOptions(item, pipeline.info.scheduler.className),
    capture: ['prompt_embeds', 'negative_prompt_embeds', 'image'],
  })
  await pipeline.dispose()
  for (const name of ['prompt_embeds', 'negative_prompt_embeds'])
    expect(relativeError(captured[name], reference[name]!), name).toBeLessThan(1e-4)
  expect(psnr(captured['image']!, reference['image']!)).toBeGreaterThan(90)
}

test('SD3 with T5’s tokenizer in the form in which it was published', async () => {
  const own = json('tokenizers/t5/tokenizer.json')
  const { forms } = json('tokenizers/t5/forms.json') as { forms: { converter: Record<string, object> } }
  const { edits: _, ...form } = forms.converter
  const { precompiled_charsmap: table } = own['normalizer'] as { precompiled_charsmap: string }
  const written = JSON.stringify({ ...own, ...form }).replace('"precompiled_charsmap":null', `"precompiled_charsmap":"${table}"`)
  expect(written).toContain('" {2,}"')
  const loaded = await load('tiny-sd3', { 'tokenizer_3/tokenizer.json': written })
  expect(loaded.opened).toContain('tokenizer_3/tokenizer.json')
  await compareSD3(loaded, (extra) => extra['text_encoder_3'] === undefined)
})

test('SD3 without T5: its tokenizer is not read, be it one that could not be', async () => {
  const unreadable = { 'tokenizer_3/tokenizer.json': '{"model": {"type": "BPE"}}' }
  const loaded = await load('tiny-sd3', unreadable, { text_encoder_3: null })
  expect(loaded.opened.filter((path) => /^(tokenizer|text_encoder)_3\//.test(path))).toEqual([])
  await compareSD3(loaded, (extra) => extra['text_encoder_3'] === null)
  await expect(load('tiny-sd3', unreadable)).rejects.toMatchObject({ code: 'tokenizer-vocabulary' })
})

test('SDXL without its first text encoder does not ask for its tokenizer either', async () => {
  const { pipeline, opened } = await load('tiny-sdxl', { 'tokenizer/vocab.json': null }, { text_encoder: null })
  expect(opened.filter((path) => /^(tokenizer|text_encoder)\//.test(path))).toEqual([])
  await pipeline.dispose()
})

test.each([
  ['tiny-sd3', 'tokenizer_3'],
  ['tiny-sdxl', 'tokenizer'],
])('%s: a text encoder that stays keeps its tokenizer', async (name, component) => {
  await expect(load(name, {}, { [component]: null })).rejects.toMatchObject({ code: 'components', details: { component } })
})
