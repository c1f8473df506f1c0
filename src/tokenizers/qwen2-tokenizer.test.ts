/** Compares Qwen's tokenizer and its chat template with transformers (fixtures/tokenizers/qwen2). */

import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { Qwen2Tokenizer } from './qwen2-tokenizer.js'
import { qwen3Chat } from './qwen3-chat-template.js'
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
  for (const { prompt, enable_thinking: enableThinking, text, ids: expected } of ids.chats) {
    expect(qwen3Chat(prompt, { enableThinking })).toBe(text)
    expect(tokenizer.encode(text)).toEqual(expected)
  }
})

test('special tokens that the vocabulary lacks get the ids after it, as in transformers', () => {
  const tokenizer = new Qwen2Tokenizer({ vocab: { a: 0 }, merges: '', tokenizerConfig: { pad_token: '<pad>' } })
  expect(tokenizer.padTokenId).toBe(2)
  expect(tokenizer.encode('a<|endoftext|><pad>')).toEqual([0, 1, 2])
})

test('a text without spaces that is far too long ends soon', () => {
  expect(tokenizer.encodePadded('x'.repeat(1_000_000), 512).inputIds).toHaveLength(512)
})
