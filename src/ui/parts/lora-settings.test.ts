import { expect, test } from 'vitest'
import { loraName, lorasFromAttribute, lorasFromQuery, lorasFromUnknown, lorasInPrompt, lorasToQuery } from './lora-settings.js'

const hub = { source: 'owner/name', weight: 0.8 }
const url = { source: 'https://host/a/b.safetensors?x=1', weight: -1 }
const file = { source: 'b.safetensors', weight: 1 }

test('a link has the LoRAs that others can load', () => {
  const query = lorasToQuery([hub, file, url])
  expect(query).toEqual(['0.8:owner/name', '-1:https://host/a/b.safetensors?x=1'])
  expect(lorasFromQuery(query)).toEqual([hub, url])
  expect(lorasFromQuery(['x:owner/name', '1:b.safetensors', '1e9:a/b', ''])).toBeUndefined()
})

test('invalid values of an untrusted link are left out', () => {
  expect(lorasFromUnknown([hub, { source: 1, weight: 1 }, { source: 'a/b', weight: Number.NaN }, null, 'x'])).toEqual([hub])
  expect(lorasFromUnknown({ length: 1 })).toBeUndefined()
  expect(lorasFromUnknown(Array.from({ length: 30 }, () => file))).toHaveLength(20)
})

test('LoRAs are written into the prompt as other programs read them', () => {
  expect(lorasInPrompt([url, hub])).toBe('<lora:b:-1><lora:name:0.8>')
  expect(loraName(url.source)).toBe('b.safetensors')
})

test('the attribute of the tag has addresses, with weights behind colons', () => {
  expect(lorasFromAttribute(' owner/name:0.8\nhttps://host/a/b.safetensors ')).toEqual([
    hub,
    { source: 'https://host/a/b.safetensors', weight: 1 },
  ])
  expect(lorasFromAttribute(' ')).toBeUndefined()
})
