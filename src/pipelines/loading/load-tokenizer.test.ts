/** Tests the limits on the sizes of the files that contain a tokenizer's vocabulary. */

import { expect, test } from 'vitest'
import { parseConfig } from '../../checkpoint/read-config.js'
import { vocabularyLimits } from './load-tokenizer.js'

const bytes = (value: unknown) => new TextEncoder().encode(JSON.stringify(value))

test('a tokenizer.json as large as Qwen’s is read, and one that is far larger is refused', () => {
  const words = Array.from({ length: 151_643 }, (_, id) => id.toString(36).padStart(7, 'x'))
  const pairs = words.map((word) => [word.slice(0, 3), word.slice(3)])
  const model = { vocab: Object.fromEntries(words.map((word, id) => [word, id])), merges: pairs }
  const read = parseConfig(bytes({ model }), 'tokenizer.json', vocabularyLimits)
  expect(read).toMatchObject({ model: { merges: { length: words.length } } })
  const large = bytes([pairs, pairs, pairs, pairs])
  expect(large.length).toBeLessThan(vocabularyLimits.maxBytes)
  expect(() => parseConfig(large, 'tokenizer.json', vocabularyLimits)).toThrow(
    expect.objectContaining({ code: 'json-too-complex' }),
  )
})
