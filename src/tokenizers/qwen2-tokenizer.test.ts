/** Compares Qwen's tokenizer and its chat template with transformers (fixtures/tokenizers/qwen2). */

import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { Qwen2Tokenizer } from './qwen2-tokenizer.js'
import type { TokenizerFiles } from './types.js'

const folder = new URL('../../fixtures/tokenizers/qwen2/', import.meta.url)
const json = (name: string) => JSON.parse(readFileSync(new URL(name, folder), 'utf8')) as Record<string, unknown>

interface Ids {
  max_length: number
  strings: string[]
  untruncated: number[][]
  padded: Record<string, number[]>
  chats: { prompt: string; enable_thinking: boolean; text: string; ids: number[] }[]
}
const ids = json('ids.json') as unknown as Ids
const strings = [...(json('../clip/strings.json') as unknown as string[]), ...ids.strings]
const tokenizerConfig = json('tokenizer_config.json')
const pair: TokenizerFiles = {
  vocab: json('vocab.json'),
  merges: readFileSync(new URL('merges.txt', folder), 'utf8'),
  tokenizerConfig,
}
const single: TokenizerFiles = { tokenizerJson: json('tokenizer.json'), tokenizerConfig }
const tokenizer = new Qwen2Tokenizer(single)

test.each([
  ['vocab.json and merges.txt', pair],
  ['tokenizer.json', single],
  ['tokenizer.json alone', { tokenizerJson: single.tokenizerJson }],
])('returns transformers’ ids for every string, read from %s', (_, files) => {
  expect(strings.length).toBeGreaterThanOrEqual(1200)
  expect(ids.untruncated.length).toBe(strings.length)
  const read = new Qwen2Tokenizer(files)
  const different = strings.flatMap((text, i) => {
    const actual = read.encode(text)
    return JSON.stringify(actual) === JSON.stringify(ids.untruncated[i])
      ? []
      : [{ text: text.slice(0, 200), actual, expected: ids.untruncated[i] }]
  })
  expect(different).toEqual([])
})

test('pads and truncates as transformers does', () => {
  expect(tokenizer.fixedLength).toBeNull()
  expect(Object.keys(ids.padded).length).toBeGreaterThan(30)
  for (const [i, expected] of Object.entries(ids.padded))
    expect(tokenizer.encodePadded(strings[Number(i)]!, ids.max_length).inputIds).toEqual(expected)
})

test('reports the text that was cut', () => {
  expect(tokenizer.encodePadded('a dog', 20)).toMatchObject({ removedText: null })
  const text = 'the dog and the cat, 猫が走る'
  const kept = tokenizer.encode('the dog and').length
  expect(tokenizer.encodePadded(text, kept)).toMatchObject({ removedText: ' the cat, 猫が走る', tokens: kept })
})

test('the chat template gives transformers’ texts and ids', () => {
  expect(ids.chats.length).toBeGreaterThan(10)
  // A tokenizer without a template uses Qwen3's template.
  const plain = new Qwen2Tokenizer({ vocab: { a: 0 }, merges: '', tokenizerConfig: {} })
  for (const { prompt, enable_thinking: enableThinking, text, ids: expected } of ids.chats) {
    expect(tokenizer.chat(prompt, { enableThinking })).toBe(text)
    expect(plain.chat(prompt, { enableThinking })).toBe(text)
    expect(tokenizer.encode(text)).toEqual(expected)
  }
})

test('any other chat template gives transformers’ texts', () => {
  const cases = json('templates.json') as unknown as readonly {
    readonly template: string
    readonly prompt: string
    readonly enable_thinking: boolean
    readonly text: string
  }[]
  expect(new Set(cases.map(({ text }) => text)).size).toBeGreaterThan(20)
  const files = { vocab: { a: 0 }, merges: '', tokenizerConfig: { chat_template: 'other', eos_token: '<|im_end|>' } }
  for (const { template, prompt, enable_thinking: enableThinking, text } of cases) {
    const listed = { ...files, tokenizerConfig: { ...files.tokenizerConfig, chat_template: [{ name: 'default', template }] } }
    for (const given of [{ ...files, chatTemplate: template }, listed])
      expect(new Qwen2Tokenizer(given).chat(prompt, { enableThinking })).toBe(text)
  }
})

/** The text that a tokenizer with the chat template `value` writes for a prompt. */
function chatWith(value: unknown): string {
  const tokenizerConfig = { chat_template: value }
  return new Qwen2Tokenizer({ vocab: { a: 0 }, merges: '', tokenizerConfig }).chat('a', { enableThinking: true })
}

test.each(['{% if %}', '{{ unclosed', 5, [], [{ name: 'tool_use', template: 'x' }], "{{ raise_exception('No') }}"])(
  'the chat template %j, which transformers cannot run either, is refused by its key',
  (value) => {
    const details: unknown = expect.objectContaining({ key: 'chat_template' })
    expect(() => chatWith(value)).toThrow(expect.objectContaining({ code: 'tokenizer-model', details }))
  },
)

test('special tokens that the vocabulary lacks get the ids after it, as in transformers', () => {
  const tokenizer = new Qwen2Tokenizer({ vocab: { a: 0 }, merges: '', tokenizerConfig: { pad_token: '<pad>' } })
  expect(tokenizer.padTokenId).toBe(2)
  expect(tokenizer.encode('a<|endoftext|><pad>')).toEqual([0, 1, 2])
})

/** Makes a tokenizer with these settings and without tokenizer.json. */
const madeWith = (tokenizerConfig: Record<string, unknown>) => () =>
  new Qwen2Tokenizer({ vocab: { a: 0 }, merges: '', tokenizerConfig })

test('settings by which transformers adds tokens to each text are refused by their key where there is no tokenizer.json', () => {
  expect(madeWith({ add_bos_token: true, bos_token: null })).not.toThrow()
  for (const [key, more] of Object.entries({ add_bos_token: { bos_token: 'a' }, add_eos_token: {} })) {
    const details: unknown = expect.objectContaining({ key })
    expect(madeWith({ [key]: true, ...more })).toThrow(expect.objectContaining({ code: 'tokenizer-model', details }))
  }
})

test('a text without spaces that is far too long ends soon', () => {
  expect(tokenizer.encodePadded('x'.repeat(1_000_000), 512).inputIds).toHaveLength(512)
})
