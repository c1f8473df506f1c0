import { expect, test } from 'vitest'
import { modelName } from './model-name.js'

test('a model is named by its id, or by its URL', () => {
  const page = 'https://a.example/site/?model=x'
  expect(modelName({ id: 'owner/name', endpoint: 'https://hub.example/' }, page)).toBe('owner/name')
  expect(modelName({ id: '', endpoint: 'https://a.example/site/models/emoji/' }, page)).toBe('./models/emoji')
  expect(modelName({ id: '', endpoint: 'https://b.example/emoji/' }, page)).toBe('https://b.example/emoji')
})
