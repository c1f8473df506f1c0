/**
 * Compares the forms in which T5's tokenizer.json has been published (fixtures/tokenizers/t5/forms.json) with Hugging Face's tokenizers library. Also
 * checks that unsupported forms are refused by name, and that a hostile file takes no long time.
 */

import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { AquatintError } from '../errors.js'
import { readSentencePieceModel } from './sentencepiece-model.js'
import { T5Tokenizer } from './t5-tokenizer.js'
import { unigramNormalizer } from './unigram-normalizer.js'
import { unigramPreTokenizer } from './unigram-pre-tokenizer.js'

type Json = Readonly<Record<string, unknown>>

/** The difference of ids from those of tokenizer.json: how many are equal at the beginning and at the end, and the ids between. */
type Edit = readonly [number, number, readonly number[]]
interface Forms {
  readonly strings: readonly string[]
  readonly long: readonly { readonly before: string; readonly repeated: string; readonly times: number; readonly after: string }[]
  readonly max_length: number
  readonly ids: readonly (readonly number[])[]
  /** The text after a `Replace` of each expression by "_". */
  readonly replaced: string
  readonly patterns: Readonly<Record<string, string>>
  readonly forms: Readonly<Record<string, Json & { readonly edits: Readonly<Record<string, Edit>> }>>
}

const folder = new URL('../../fixtures/tokenizers/t5/', import.meta.url)
const json = (name: string): unknown => JSON.parse(readFileSync(new URL(name, folder), 'utf8'))
const tokenizerJson = json('tokenizer.json') as Json
const tokenizerConfig = json('tokenizer_config.json') as Json
const specialTokensMap = json('special_tokens_map.json') as Json
const { strings: more, long, max_length: maxLength, ids: moreIds, forms, replaced, patterns } = json('forms.json') as Forms

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
  return new T5Tokenizer({
    tokenizerJson: { ...tokenizerJson, ...(JSON.parse(filled) as Json) },
    tokenizerConfig,
    specialTokensMap,
  })
}

/** The library's ids for each of `strings`, then for each of `longStrings`. */
function expectedIds(edits: Readonly<Record<string, Edit>>): readonly (readonly number[])[] {
  return ids.map((own, i) => {
    const [begin, end, between] = edits[i] ?? [own.length, 0, []]
    return own.slice(0, begin).concat(between, own.slice(own.length - end))
  })
}

describe.each(Object.entries({ 'tokenizer.json': { edits: {} }, ...forms }))('%s', (_, { edits, ...parts }) => {
  const tokenizer = load(parts)
  const expected = expectedIds(edits)

  test('returns the library’s ids for every string', () => {
    expect(strings.length).toBeGreaterThanOrEqual(1300)
    expect(expected.length).toBe(strings.length + longStrings.length)
    const different = strings.flatMap((text, i) => {
      const actual = tokenizer.encode(text)
      return JSON.stringify(actual) === JSON.stringify(expected[i])
        ? []
        : [{ text: text.slice(0, 200), actual, expected: expected[i] }]
    })
    expect(different).toEqual([])
  })
})

test.each(['tokenizer.json', 'converter', 'older'])(
  '%s gives the ids that are left of a text of up to 200,000 characters',
  (name) => {
    const { edits, ...parts } = forms[name] ?? { edits: {} }
    const tokenizer = load(parts)
    for (const [i, left] of expectedIds(edits).slice(strings.length).entries()) {
      const text = longStrings[i]!
      const { inputIds } = tokenizer.encodePadded(text, maxLength)
      expect([text.slice(0, 20), ...inputIds.slice(0, left.length)]).toEqual([text.slice(0, 20), ...left])
    }
  },
)

test('spiece.model alone gives the same ids as tokenizer.json', () => {
  const bare = new T5Tokenizer({
    tokenizerJson: readSentencePieceModel(new Uint8Array(readFileSync(new URL('spiece.model', folder)))),
  })
  expect(strings.map((text) => bare.encode(text))).toEqual(ids.slice(0, strings.length))
})

const eos = { SpecialToken: { id: '</s>', type_id: 0 } }
const metaspace = { type: 'Metaspace', replacement: '▁' }
const replace = (pattern: Json, content: unknown = '_') => ({ type: 'Replace', pattern, content })

test.each<[string, Json, string, RegExp]>([
  ['a normalizer', { normalizer: { type: 'Nmt' } }, 'tokenizer-normalizer', /"Nmt".*Precompiled, Strip/],
  [
    'one in a sequence',
    { normalizer: { type: 'Sequence', normalizers: [{ type: 'BertNormalizer' }] } },
    'tokenizer-normalizer',
    /BertNormalizer/,
  ],
  [
    'too many',
    { normalizer: { type: 'Sequence', normalizers: Array.from({ length: 17 }, () => ({ type: 'NFC' })) } },
    'tokenizer-normalizer',
    /16/,
  ],
  ['a Prepend of nothing', { normalizer: { type: 'Prepend' } }, 'tokenizer-normalizer', /Prepend/],
  ['a pre-tokenizer', { pre_tokenizer: { type: 'ByteLevel' } }, 'tokenizer-pre-tokenizer', /"ByteLevel".*Metaspace/],
  [
    'one in a sequence',
    { pre_tokenizer: { type: 'Sequence', pretokenizers: [{ type: 'Digits' }, metaspace] } },
    'tokenizer-pre-tokenizer',
    /Digits/,
  ],
  ['no Metaspace', { pre_tokenizer: { type: 'WhitespaceSplit' } }, 'tokenizer-pre-tokenizer', /without Metaspace/],
  ['a Metaspace without a mark', { pre_tokenizer: { type: 'Metaspace' } }, 'tokenizer-pre-tokenizer', /replacement undefined/],
  ['one of two letters', { pre_tokenizer: { ...metaspace, replacement: '__' } }, 'tokenizer-pre-tokenizer', /"__"/],
  ['an unknown scheme', { pre_tokenizer: { ...metaspace, prepend_scheme: 'last' } }, 'tokenizer-pre-tokenizer', /"last"/],
  [
    'two that differ',
    { pre_tokenizer: { ...metaspace, prepend_scheme: 'first', add_prefix_space: false } },
    'tokenizer-pre-tokenizer',
    /false/,
  ],
  ['a post-processor', { post_processor: { type: 'ByteLevel' } }, 'tokenizer-post-processor', /"ByteLevel"/],
  [
    'a start token',
    { post_processor: { type: 'TemplateProcessing', single: [eos, { Sequence: { id: 'A' } }, eos] } },
    'tokenizer-post-processor',
    /SpecialToken/,
  ],
  [
    'bytes for unknown characters',
    { model: { ...(tokenizerJson['model'] as Json), byte_fallback: true } },
    'tokenizer-model',
    /byte_fallback/,
  ],
])('refuses %s by name: %o', (_, parts, code, message) => {
  expect(() => load(parts)).toThrow(expect.objectContaining({ code, message: expect.stringMatching(message) as string }))
})

test('uses the class’s defaults for parts that a file leaves out or has as null', () => {
  const text = 'a  dog </s> b'
  const own = load({})
  for (const parts of [{ pre_tokenizer: null }, { post_processor: null }])
    expect(load(parts).encode(text)).toEqual(own.encode(text))
  const never = unigramPreTokenizer({ ...metaspace, add_prefix_space: false })
  expect(never('a dog', true)).toEqual(['a', '▁dog'])
})

test('only a word at the beginning of the text gets a mark from prepend_scheme first', () => {
  const cut = unigramPreTokenizer({
    type: 'Sequence',
    pretokenizers: [{ type: 'WhitespaceSplit' }, { ...metaspace, prepend_scheme: 'first' }],
  })
  expect(cut('a dog', true)).toEqual(['▁a', 'dog'])
  expect(cut(' a dog', true)).toEqual(['a', 'dog'])
  expect(cut('a dog', false)).toEqual(['a', 'dog'])
})

test.each(Object.entries(patterns))('replaces %j as the library does', (pattern, expected) => {
  expect(unigramNormalizer(replace({ Regex: pattern }))(replaced)).toBe(expected)
})

const refused = String.raw`(a+)+b a|b x* x? x{,3} x{0,2} x{3,2} x{2}+ x{2,}? x+y a{1,999} [^a] [a-c] [a&&b] [] . ^a a$ \w \p{L} \bx \' (?i)a [`

test.each([...refused.split(' '), '\\', '', 'a'.repeat(101)])('refuses the expression %j by name', (pattern) => {
  expect(() => unigramNormalizer(replace({ Regex: pattern }))).toThrow(
    expect.objectContaining({ code: 'tokenizer-normalizer', message: expect.stringContaining('Replace') as string }),
  )
})

test('refuses a Replace with an empty or invalid pattern, or with content that is not a string', () => {
  for (const broken of [
    replace({ String: '' }),
    replace({}),
    replace({ String: 'a' }, 1),
    replace({ String: 'a' }, 'b'.repeat(101)),
  ])
    expect(() => unigramNormalizer(broken)).toThrow(expect.objectContaining({ code: 'tokenizer-normalizer' }))
})

test('the replacement text is literal', () => {
  expect(unigramNormalizer(replace({ String: 'a' }, "$&$1$'"))('abc')).toBe("$&$1$'bc")
})

test('a hostile normalizer can neither grow a text without limit nor take quadratic time', () => {
  const long = replace({ String: 'a' }, 'a'.repeat(100))
  const grown = unigramNormalizer({ type: 'Sequence', normalizers: Array(16).fill(long) })('a'.repeat(1000))
  expect(grown.length).toBeLessThanOrEqual(2_000_000)
  const strip = unigramNormalizer({
    type: 'Sequence',
    normalizers: [{ type: 'Strip', strip_left: true, strip_right: true }, replace({ Regex: ' {100,}' })],
  })
  const blanks = `a${`${' '.repeat(99)}b`.repeat(5000)}`
  expect(strip(blanks)).toBe(blanks)
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
  const listed = Object.values(forms).map((form) => Object.fromEntries(keys.map((key) => [key, form[key]])))
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
  const codes = ['tokenizer-normalizer', 'tokenizer-post-processor', 'tokenizer-pre-tokenizer']
  expect([...outcomes.keys()].toSorted()).toEqual(['ids', ...codes])
})
