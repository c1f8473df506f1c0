/**
 * The forms in which T5's tokenizer.json has been published, and other possible forms (fixtures/tokenizers/t5/forms.json): transformers 5
 * gives the same ids with all of them. Also checks that a hostile file does not take long.
 */

import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { AquatintError } from '../errors.js'
import { readSentencePieceModel } from './sentencepiece-model.js'
import { T5Tokenizer } from './t5-tokenizer.js'
import { t5Words } from './t5-words.js'

type Json = Readonly<Record<string, unknown>>

interface Forms {
  readonly strings: readonly string[]
  readonly long: readonly { readonly before: string; readonly repeated: string; readonly times: number; readonly after: string }[]
  readonly max_length: number
  readonly ids: readonly (readonly number[])[]
  /**
   * Parts of tokenizer.json that differ from the fixture's; `plain`: whether this file gives the same ids as a file without a normalizer.
   */
  readonly forms: Readonly<Record<string, { readonly parts: Json; readonly plain: boolean }>>
  /** The ids without a normalizer, by the index of the text, for the texts where they differ. */
  readonly plain: Readonly<Record<string, readonly number[]>>
}

const folder = new URL('../../fixtures/tokenizers/t5/', import.meta.url)
const json = (name: string): unknown => JSON.parse(readFileSync(new URL(name, folder), 'utf8'))
const tokenizerJson = json('tokenizer.json') as Json
const tokenizerConfig = json('tokenizer_config.json') as Json
const specialTokensMap = json('special_tokens_map.json') as Json
const { strings: more, long, max_length: maxLength, ids: moreIds, forms, plain } = json('forms.json') as Forms

const strings = [...(json('strings.json') as string[]), ...more]
const longStrings = long.map(({ before, repeated, times, after }) => before + repeated.repeat(times) + after)
const ids = [...(json('ids.json') as { untruncated: number[][] }).untruncated, ...moreIds]

const { precompiled_charsmap: table } = tokenizerJson['normalizer'] as Json

/** A tokenizer with some parts of tokenizer.json replaced. The fixture does not contain the normalizer's table. */
function load(parts: Json): T5Tokenizer {
  const filled = JSON.stringify(parts).replaceAll(
    '"precompiled_charsmap":null',
    `"precompiled_charsmap":${JSON.stringify(table)}`,
  )
  const { model, ...others } = JSON.parse(filled) as Json
  return new T5Tokenizer({
    tokenizerJson: {
      ...tokenizerJson,
      ...others,
      model: { ...(tokenizerJson['model'] as Json), ...(model as Json | undefined) },
    },
    tokenizerConfig,
    specialTokensMap,
  })
}

describe.each(Object.entries({ 'tokenizer.json': { parts: {}, plain: false }, ...forms }))('%s', (_, form) => {
  const tokenizer = load(form.parts)
  const expected = strings.map((_text, index) => (form.plain ? plain[index] : undefined) ?? ids[index])

  test('returns the ids of transformers for every string', () => {
    expect(strings.length).toBeGreaterThanOrEqual(1300)
    const different = strings.flatMap((text, index) => {
      const actual = tokenizer.encode(text)
      return JSON.stringify(actual) === JSON.stringify(expected[index])
        ? []
        : [{ text: text.slice(0, 200), actual, expected: expected[index] }]
    })
    expect(different).toEqual([])
  })
})

test('truncates a text of up to 200,000 characters to the ids of transformers', () => {
  const tokenizer = load({})
  for (const [index, text] of longStrings.entries()) {
    const left = ids[strings.length + index]!
    const { inputIds } = tokenizer.encodePadded(text, maxLength)
    expect([text.slice(0, 20), ...inputIds.slice(0, left.length)]).toEqual([text.slice(0, 20), ...left])
  }
})

test('spiece.model alone gives the same ids as tokenizer.json', () => {
  const bare = new T5Tokenizer({
    tokenizerJson: readSentencePieceModel(new Uint8Array(readFileSync(new URL('spiece.model', folder)))),
  })
  expect(strings.map((text) => bare.encode(text))).toEqual(ids.slice(0, strings.length))
})

test('each word begins with one ▁: its own, or a new one', () => {
  expect(t5Words(' a  dog\u3000▁b▁c ▁▁ ')).toEqual(['▁a', '▁dog', '▁b', '▁c', '▁', '▁'])
  expect(t5Words(' \n')).toEqual([])
})

test('a hostile text does not take quadratic time', () => {
  expect(t5Words(`a${' '.repeat(2_000_000)}b`)).toEqual(['▁a', '▁b'])
})

test('a randomly changed form gives ids or an AquatintError', () => {
  let state = 1
  const below = (count: number) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((state / 2 ** 32) * count)
  }
  const strange = [
    null,
    -1,
    1e9,
    '',
    'x',
    '▁▁',
    [],
    {},
    [[]],
    true,
    { Regex: '(' },
    { String: '' },
    'Sequence',
    'Replace',
    'Metaspace',
    'never',
  ]
  const change = (value: unknown): unknown => {
    if (below(20) === 0) return strange[below(strange.length)]
    if (Array.isArray(value)) return value.flatMap((item) => (below(20) === 0 ? [] : [change(item)]))
    if (typeof value !== 'object' || value === null) return value
    return Object.fromEntries(Object.entries(value).flatMap(([key, item]) => (below(20) === 0 ? [] : [[key, change(item)]])))
  }
  const model = { type: 'Unigram', unk_id: 2, vocab: (tokenizerJson['model'] as { vocab: unknown[] }).vocab.slice(0, 40) }
  const keys = ['normalizer', 'pre_tokenizer', 'post_processor']
  const listed = Object.values(forms).map(({ parts }) => Object.fromEntries(keys.map((key) => [key, parts[key] ?? null])))
  const outcomes = new Map<string, number>()
  for (let run = 0; run < 3000; run++) {
    const parts = listed[below(listed.length)]!
    const filled = JSON.parse(
      JSON.stringify(parts).replace('"precompiled_charsmap":null', '"precompiled_charsmap":"BAAAAAAAAAAA"'),
    ) as Json
    let outcome = 'ids'
    try {
      new T5Tokenizer({ tokenizerJson: { model, ...(change(filled) as Json) } }).encode('a  dog </s> É ')
    } catch (error) {
      expect(error).toBeInstanceOf(AquatintError)
      outcome = (error as AquatintError).code
    }
    outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1)
  }
  expect([...outcomes.keys()].toSorted()).toEqual(['ids', 'tokenizer-normalizer'])
})
