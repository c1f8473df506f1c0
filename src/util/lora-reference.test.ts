import { expect, test } from 'vitest'
import { parseLoraReference } from './lora-reference.js'

test.each([
  ['owner/name', 'owner/name', 1],
  ['owner/name:0.8', 'owner/name', 0.8],
  ['https://host/x.safetensors?download=true:-1', 'https://host/x.safetensors?download=true', -1],
  ['http://127.0.0.1:8000', 'http://127.0.0.1:8000', 1],
  ['http://127.0.0.1:8000/x.safetensors:2', 'http://127.0.0.1:8000/x.safetensors', 2],
  ['C:\\loras\\x.safetensors:0.5', 'C:\\loras\\x.safetensors', 0.5],
  ['owner/name:much', 'owner/name:much', 1],
])('%s is the source %s with the weight %d', (text, source, weight) => {
  expect(parseLoraReference(text)).toEqual({ source, weight })
})
