/** What is recognized in place of configs and weights after common accidents of copying and serving files, and what the errors say. */

import { gzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { readSafetensorsHeader } from '../checkpoint/safetensors.js'
import { recognizeContent } from './known-content.js'
import { parseJson } from './parse-json.js'

const bytes = (text: string) => new TextEncoder().encode(text)
const latin1 = (text: string) => Uint8Array.from(text, (character) => character.charCodeAt(0))

const pointer = `version https://git-lfs.github.com/spec/v1\noid sha256:${'4d'.repeat(32)}\nsize 492265874\n`

const accidents: readonly (readonly [string, Uint8Array, string, RegExp])[] = [
  ['a Git LFS pointer', bytes(pointer), 'lfs-pointer', /git lfs pull/],
  ['the pointer with a byte order mark', bytes(`\ufeff${pointer}`), 'lfs-pointer', /git lfs pull/],
  ['an HTML page', bytes('<!DOCTYPE html><title>Log in</title>'), 'html-page', /HTML page/],
  ['an HTML page after spaces', bytes('\n\n  <html lang="en">'), 'html-page', /HTML page/],
  ['an XML error', bytes('<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>'), 'other-format', /storage service/],
  ['gzip', gzipSync('{"a": 1}'), 'compressed-file', /gunzip/],
  ['xz', latin1('\xfd7zXZ\0\0\x04\xe6\xd6'), 'compressed-file', /unxz/],
  ['Zstandard', latin1('\x28\xb5\x2f\xfd\x04\0\0\0\0'), 'compressed-file', /unzstd/],
  ['a checkpoint of torch.save', latin1('PK\x03\x04\0\0\x08\x08\0\0archive/data.pkl'), 'pickle-file', /save_pretrained/],
  ['an older checkpoint of torch.save', latin1('\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.'), 'pickle-file', /save_pretrained/],
  ['GGUF', latin1('GGUF\x03\0\0\0\0\0'), 'other-format', /GGUF/],
  ['nothing', new Uint8Array(0), 'empty-file', /empty/],
  ['the answer of the Hub to a wrong path', bytes('Entry not found'), 'other-format', /"Entry not found"/],
  ['the answer of a web server', bytes('404: Not Found'), 'other-format', /"404: Not Found"/],
  ['UTF-16', latin1('\xff\xfe{\0"\0'), 'other-format', /UTF-8/],
]

describe('in place of a JSON file', () => {
  it.each(accidents)('%s is named by the error', (_, content, code, words) => {
    const parse = () => parseJson(content, { file: 'unet/config.json', maxBytes: 1e6, duplicateKeys: 'last' })
    expect(parse).toThrow(expect.objectContaining({ name: 'CheckpointError', code, details: { file: 'unet/config.json' } }))
    expect(parse).toThrow(words)
    expect(parse).toThrow(/^unet\/config\.json is .*[a-z8)]\.$/)
  })

  it('a file that was cut short says so', () => {
    for (const text of ['{"a": [1, 2', '{"a": "b', '{"a"', '{'])
      expect(() => parseJson(bytes(text), { file: 'c.json', maxBytes: 100, duplicateKeys: 'last' })).toThrow(
        expect.objectContaining({ code: 'json-syntax', message: expect.stringMatching(/ends at byte \d+.*cut short: download/) }),
      )
  })

  it('a byte order mark is skipped', () =>
    expect(parseJson(bytes('\ufeff{"a": 1}'), { file: 'c.json', maxBytes: 100, duplicateKeys: 'last' })).toEqual({ a: 1 }))

  it('any other text is a plain syntax error', () =>
    expect(() => parseJson(bytes('{a: 1}'), { file: 'c.json', maxBytes: 100, duplicateKeys: 'last' })).toThrow(
      expect.objectContaining({ code: 'json-syntax' }),
    ))
})

describe('in place of a safetensors file', () => {
  it.each(accidents)('%s is named by the error', async (_, content, code, words) => {
    const source = {
      byteLength: content.length,
      read: ({ begin, end }: { begin: number; end: number }) => Promise.resolve(Uint8Array.from(content.subarray(begin, end))),
    }
    const error: unknown = await readSafetensorsHeader(source, 'vae/model.safetensors').catch((thrown: unknown) => thrown)
    expect(error).toMatchObject({ name: 'CheckpointError', code, message: expect.stringMatching(words) })
  })
})

it('the bytes of a real file are not mistaken for known content', () => {
  for (const content of ['{"a": 1}', '[]', '#version: 0.2\ni n', '\x10\0\0\0\0\0\0\0{}'])
    expect(recognizeContent(latin1(content))).toBeUndefined()
})
