/** Compares T5's tokenizer with transformers' class (fixtures/tokenizers/t5). */

import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { ProtobufWriter } from '../onnx/protobuf.js'
import { readSentencePieceModel } from './sentencepiece-model.js'
import { T5Tokenizer } from './t5-tokenizer.js'
import type { TokenizerFiles } from './types.js'
import { t5Normalizer } from './t5-words.js'

const folder = new URL('../../fixtures/tokenizers/t5/', import.meta.url)
const json = (name: string) => JSON.parse(readFileSync(new URL(name, folder), 'utf8')) as Record<string, unknown>
const strings = json('strings.json') as unknown as string[]
const ids = json('ids.json') as unknown as { max_length: number; untruncated: number[][]; padded: Record<string, number[]> }
const files: TokenizerFiles = {
  tokenizerJson: json('tokenizer.json'),
  tokenizerConfig: json('tokenizer_config.json'),
  specialTokensMap: json('special_tokens_map.json'),
}
const tokenizer = new T5Tokenizer(files)
const spiece = new Uint8Array(readFileSync(new URL('spiece.model', folder)))

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

interface Added {
  readonly token: Readonly<Record<string, unknown>>
  /** transformers' ids by text. */
  readonly ids: Readonly<Record<string, readonly number[]>>
}

test.each(json('added.json') as unknown as Added[])(
  'finds an added token as transformers does: "$token.content", normalized: $token.normalized',
  ({ token, ids: expected }) => {
    const { tokenizerConfig } = files
    const { added_tokens_decoder: others } = tokenizerConfig as { added_tokens_decoder?: object }
    const added = new T5Tokenizer({
      ...files,
      tokenizerConfig: { ...tokenizerConfig, added_tokens_decoder: { ...others, 5000: token } },
    })
    expect(Object.fromEntries(Object.keys(expected).map((text) => [text, added.encode(text)]))).toEqual(expected)
  },
)

test('spiece.model alone gives the same ids', () => {
  const { model, normalizer, ...rest } = readSentencePieceModel(spiece)
  const file = json('tokenizer.json')
  // `toEqual` is not used, because its report of a difference would have a megabyte.
  expect(JSON.stringify(normalizer) === JSON.stringify(file['normalizer'])).toBe(true)
  expect(model).toEqual(file['model'])
  const masks = (file['added_tokens'] as { content: string }[])
    .map(({ content }) => content)
    .filter((text) => text.startsWith('<extra'))
  const own = (rest['sentencepiece_tokens'] as { content: string }[]).map(({ content }) => content)
  expect(own).toEqual(expect.arrayContaining(masks))
})

const field = (write: (writer: ProtobufWriter) => void) => {
  const writer = new ProtobufWriter()
  write(writer)
  return writer.finish()
}
test.each([
  ['that is cut short', spiece.subarray(0, 1000), {}, 'tokenizer-sentencepiece'],
  ['that is text', new TextEncoder().encode('version https://git-lfs.github.com/spec/v1'), {}, 'tokenizer-sentencepiece'],
  [
    'without a piece for the unknown',
    field((model) => model.message(1, (piece) => piece.string(1, 'a').float(2, 0))),
    {},
    'tokenizer-sentencepiece',
  ],
  ['whose pieces are numbers', field((model) => model.integer(1, 7)), {}, 'tokenizer-sentencepiece'],
  ['of another kind', field((model) => model.message(2, (trainer) => trainer.integer(3, 2))), {}, 'tokenizer-model'],
  ['with too many extra ids', spiece, { extraIds: 1e9 }, 'tokenizer-sentencepiece'],
])('refuses a SentencePiece model %s', (_, bytes, { extraIds }: { extraIds?: number }, code) => {
  expect(() => readSentencePieceModel(bytes, extraIds)).toThrow(expect.objectContaining({ code }))
})

test('pads and truncates as transformers does', () => {
  expect(Object.keys(ids.padded).length).toBeGreaterThan(30)
  for (const [i, expected] of Object.entries(ids.padded))
    expect(tokenizer.encodePadded(strings[Number(i)]!, ids.max_length).inputIds).toEqual(expected)
})

test('reports the text that was cut', () => {
  expect(tokenizer.encodePadded('a dog', 20).removedText).toBeNull()
  expect(tokenizer.encodePadded('the dog and the dog and the dog', 4).removedText).toMatch(/dog$/)
})

test.each([
  ['no tokenizer.json', {}, 'tokenizer-vocabulary'],
  ['a BPE model', { tokenizerJson: { model: { type: 'BPE', vocab: { a: 1 } } } }, 'tokenizer-vocabulary'],
  ['no unk_id', { tokenizerJson: { model: { vocab: [['a', 0]] } } }, 'tokenizer-vocabulary'],
  [
    'no end token',
    {
      tokenizerJson: {
        model: {
          vocab: [
            ['a', 0],
            ['b', 0],
            ['c', 0],
          ],
        },
      },
    },
    'tokenizer-token',
  ],
])('refuses a tokenizer with %s', (_, broken, code) => {
  expect(() => new T5Tokenizer(broken)).toThrow(expect.objectContaining({ code }))
})

test.each([
  ['no base64', { type: 'Precompiled', precompiled_charsmap: '§' }],
  ['a table that is too short', { type: 'Precompiled', precompiled_charsmap: 'AAAA' }],
  ['a trie longer than the table', { type: 'Precompiled', precompiled_charsmap: btoa('\u0000\u0001\u0000\u0000aaaaaaaa') }],
])('refuses a normalizer of %s', (_, normalizer) => {
  expect(() => t5Normalizer(normalizer)).toThrow(expect.objectContaining({ code: 'tokenizer-normalizer' }))
})

test('a normalizer of random bytes terminates', () => {
  const noise = Uint8Array.from({ length: 4096 }, (_, i) => (i * 2654435761) >>> 24)
  noise.set([0, 8, 0, 0])
  const normalize = t5Normalizer({ type: 'Precompiled', precompiled_charsmap: btoa(String.fromCharCode(...noise)) })
  expect(typeof normalize('añ😀b'.repeat(100))).toBe('string')
})
