/** Compares CLIP's tokenizer with transformers' class (fixtures/tokenizers/clip). */

import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { CLIPTokenizer } from './clip-tokenizer.js'
import type { TokenizerFiles } from './types.js'

const folder = new URL('../../fixtures/tokenizers/clip/', import.meta.url)
const json = (name: string, base = folder) => JSON.parse(readFileSync(new URL(name, base), 'utf8')) as Record<string, unknown>

interface Ids {
  model_max_length: number
  untruncated: number[][]
  padded: Record<string, number[]>
  pad_exclamation: { untruncated: Record<string, number[]>; padded: Record<string, number[]> }
}
const strings = json('strings.json') as unknown as string[]
const ids = json('ids.json') as unknown as Ids
const files: TokenizerFiles = {
  vocab: json('vocab.json'),
  merges: readFileSync(new URL('merges.txt', folder), 'utf8'),
  tokenizerConfig: json('tokenizer_config.json'),
  specialTokensMap: json('special_tokens_map.json'),
}
const tokenizer = new CLIPTokenizer(files)
const second = new CLIPTokenizer({
  ...files,
  tokenizerConfig: { ...files.tokenizerConfig, pad_token: '!' },
  specialTokensMap: { ...files.specialTokensMap, pad_token: '!' },
})

test('returns transformers’ ids for every string', () => {
  expect(strings.length).toBeGreaterThanOrEqual(1000)
  expect(ids.untruncated.length).toBe(strings.length)
  const different = strings.flatMap((text, i) => {
    const actual = tokenizer.encode(text)
    return JSON.stringify(actual) === JSON.stringify(ids.untruncated[i])
      ? []
      : [{ text: text.slice(0, 200), actual, expected: ids.untruncated[i] }]
  })
  expect(different).toEqual([])
})

test('U+FEFF is a symbol beside other symbols, as in transformers', () => {
  // transformers' ids, with this vocabulary.
  expect(tokenizer.encode('!\ufeff7').slice(1, -1)).toEqual([0, 171, 119, 379, 278])
  expect(tokenizer.encode('\ufeff\ufeff!!').slice(1, -1)).toEqual([171, 119, 123, 171, 119, 123, 748])
  expect(tokenizer.encode('a\ufeff, \ufeffb').slice(1, -1)).toEqual([320, 171, 119, 123, 267, 171, 119, 379, 321])
})

test('pads and truncates as transformers does', () => {
  expect(tokenizer.fixedLength).toBe(ids.model_max_length)
  expect(Object.keys(ids.padded).length).toBeGreaterThan(30)
  for (const [i, expected] of Object.entries(ids.padded))
    expect(tokenizer.encodePadded(strings[Number(i)]!).inputIds).toEqual(expected)
})

test('pads with "!" as SDXL’s second tokenizer does, with the same effect on a "!" in the prompt', () => {
  const changed = new Map(Object.entries(ids.pad_exclamation.untruncated))
  expect(changed.size).toBeGreaterThan(10)
  for (const [i, text] of strings.entries())
    expect([text, second.encode(text)]).toEqual([text, changed.get(String(i)) ?? ids.untruncated[i]])
  for (const [i, expected] of Object.entries(ids.pad_exclamation.padded))
    expect(second.encodePadded(strings[Number(i)]!).inputIds).toEqual(expected)
})

test('reads tokenizer.json if there is no other file', () => {
  const repository = new URL('../../fixtures/tiny-sd21/repo/tokenizer/', import.meta.url)
  const only = new CLIPTokenizer({
    tokenizerJson: json('tokenizer.json', repository),
    tokenizerConfig: json('tokenizer_config.json', repository),
  })
  const encoded = only.encodePadded('a cute dog!')
  expect(encoded.inputIds).toHaveLength(77)
  expect(encoded.inputIds[0]).toBe(1312)
  expect(encoded.inputIds).toContain(1313)
  expect(encoded.inputIds.at(-1)).toBe(0)
})

test('truncates a prompt of 10,000 characters, and reports the text that was cut', () => {
  const words = Array.from({ length: 1700 }, (_, i) => `word${i % 10}`).join(' ')
  expect(words.length).toBeGreaterThan(10_000)
  const { inputIds, removedText } = tokenizer.encodePadded(words)
  expect(inputIds).toHaveLength(77)
  expect(inputIds.at(-1)).toBe(49407)
  expect(removedText).toMatch(/^(word )?\d word \d/)
  expect(tokenizer.encodePadded('a dog').removedText).toBeNull()
})

test('a million letters do not hang it, and a million spaces do not hide a word', () => {
  expect(tokenizer.encodePadded('x'.repeat(1_000_000)).inputIds).toHaveLength(77)
  expect(tokenizer.encode(`a${' '.repeat(1_000_000)}dog`)).toEqual(tokenizer.encode('a dog'))
})

test.each([
  ['no vocabulary', { merges: '' }, 'tokenizer-vocabulary'],
  ['no merges', { vocab: { a: 1 } }, 'tokenizer-merges'],
  ['a merge of three', { vocab: { a: 1 }, merges: 'a b c' }, 'tokenizer-merges'],
  ['an id that is text', { vocab: { a: '1' }, merges: '' }, 'tokenizer-vocabulary'],
  ['no end token', { vocab: { a: 1 }, merges: '' }, 'tokenizer-token'],
  ['a length that is text', { ...files, tokenizerConfig: { model_max_length: 'x' } }, 'tokenizer-max-length'],
])('refuses a tokenizer with %s', (_, broken, code) => {
  expect(() => new CLIPTokenizer(broken)).toThrow(expect.objectContaining({ code }))
})
