/** Compares whole pipelines with diffusers, with text encoders and tokenizers as published, and without some of them. */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { loadPipeline } from '../diffusion-pipeline.js'
import { maskingPadding } from '../../models/text-encoders/encoder-variants.js'
import { T5EncoderModel } from '../../models/text-encoders/t5-encoder-model.js'
import type { TextEncoderDefinition } from '../../models/types.js'
import { float32Of } from '../../runtime/tensors.js'
import type { Value } from '../execution/component-host.js'
import { stableDiffusion3 } from '../families/stable-diffusion-3.js'
import { openPipeline } from '../loading/open-pipeline.js'
import { Run } from '../run.js'
import { textEncoderOf, type EncodeTextOptions } from './text-encoders.js'
import { diskRepository, fixtures, readCases } from '../testing.node.js'
import { caseOptions } from '../testing-cases.js'
import { psnr, relativeError } from '../testing.js'
import type { LoadPipelineOptions } from '../types.js'

const folder = (name: string) => join(fixtures, name, 'repo')
const json = (path: string) => JSON.parse(readFileSync(join(fixtures, path), 'utf8')) as Record<string, unknown>

/** A pipeline on the CPU with some files replaced, and the list of files that were opened. */
async function load(name: string, replaced: Record<string, string | null>, components: LoadPipelineOptions['components'] = {}) {
  const repository = diskRepository(folder(name), replaced)
  const pipeline = await loadPipeline(repository, { device: 'wasm', components })
  return { pipeline, opened: repository.opened }
}

/** Runs the first case of tiny-sd3 that `which` accepts, and compares it with diffusers. */
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

test('SD3 with T5’s tokenizer in its published form', async () => {
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

test('SD3 without T5: its tokenizer is not read, even if it is invalid', async () => {
  const unreadable = { 'tokenizer_3/tokenizer.json': '{"model": {"type": "BPE"}}' }
  const loaded = await load('tiny-sd3', unreadable, { text_encoder_3: null })
  expect(loaded.opened.filter((path) => /^(tokenizer|text_encoder)_3\//.test(path))).toEqual([])
  await compareSD3(loaded, (extra) => extra['text_encoder_3'] === null)
  await expect(load('tiny-sd3', unreadable)).rejects.toMatchObject({ code: 'tokenizer-vocabulary' })
})

test('SDXL without its first text encoder does not read that encoder’s tokenizer', async () => {
  const repository = diskRepository(folder('tiny-sdxl'), { 'tokenizer/vocab.json': null })
  // Only after reading all parts does the load find out that this UNet needs the widths of both encoders.
  await expect(loadPipeline(repository, { device: 'wasm', components: { text_encoder: null } })).rejects.toMatchObject({
    code: 'unsupported-config',
    message: expect.stringContaining('cross_attention_dim') as string,
  })
  expect(repository.opened.filter((path) => /^(tokenizer|text_encoder)\//.test(path))).toEqual([])
})

test.each([
  ['tiny-sd3', 'tokenizer_3'],
  ['tiny-sdxl', 'tokenizer'],
])('%s: a text encoder that stays keeps its tokenizer', async (name, component) => {
  await expect(load(name, {}, { [component]: null })).rejects.toMatchObject({ code: 'components', details: { component } })
})

const rows = async (value: Value) => ({ dims: value.dims, data: 'read' in value ? await value.read() : float32Of(value) })

/** Encodes a text with the T5 of tiny-sd3, but with the given definition of its class. */
async function encodeWith(t5: TextEncoderDefinition, options: EncodeTextOptions) {
  const spec = { ...stableDiffusion3, networks: { ...stableDiffusion3.networks, text_encoder_3: [t5] } }
  const opened = await openPipeline(diskRepository(folder('tiny-sd3')), { device: 'wasm' }, [spec])
  onTestFinished(async () => {
    await opened.hosts.dispose()
    opened.close()
  })
  const encoder = textEncoderOf(opened.parts, opened.hosts, 'text_encoder_3', 'tokenizer_3')!
  const call = { next: opened.hosts.of('text_encoder_3'), keep: <V>(tensor: V) => tensor, run: new Run({}) }
  const { hidden, hiddenStates, tokens } = await encoder.encode('a red fox in the snow', call, options)
  expect(hiddenStates[0]).toBe(hidden)
  return { values: await Promise.all(hiddenStates.map(rows)), tokens }
}

test('padding that is masked changes no token: the hidden states are those of the text without padding', async () => {
  const states = [
    { index: -1, finalLayerNorm: true },
    { index: 1, finalLayerNorm: false },
  ]
  const masked = await encodeWith(maskingPadding(T5EncoderModel), { hiddenStates: states, maxSequenceLength: 24 })
  const { tokens } = masked
  expect(tokens).toBeGreaterThan(5)
  expect(tokens).toBeLessThan(24)
  const alone = await encodeWith(T5EncoderModel, { hiddenStates: states, maxSequenceLength: tokens })
  const padded = await encodeWith(T5EncoderModel, { hiddenStates: states, maxSequenceLength: 24 })
  expect(masked.values.map(({ dims }) => dims)).toEqual([
    [1, 24, 64],
    [1, 24, 64],
  ])
  for (const [index, { data }] of alone.values.entries()) {
    const expected = { dims: [data.length], data: Float32Array.from(data) }
    const first = (values: typeof masked.values) => ({
      dims: [data.length],
      data: Float32Array.from(values[index]!.data.slice(0, data.length)),
    })
    expect(relativeError(first(masked.values), expected)).toBeLessThan(1e-5)
    expect(relativeError(first(padded.values), expected)).toBeGreaterThan(1e-3)
  }
})
