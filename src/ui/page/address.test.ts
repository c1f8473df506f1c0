import { expect, test } from 'vitest'
import { readAddress, shareLink } from './address.js'

test('the URL sets fields and load options', () => {
  const url = new URL(
    'https://a.example/?model=x/y&prompt=hi&seed=3&steps=2&endpoint=http://h.example&device=wasm&dtype=q4&max-memory=6GB&revision=main&variant=',
  )
  expect(readAddress(url)).toEqual({
    settings: { model: 'x/y', dtype: 'q4', prompt: 'hi', seed: 3, numInferenceSteps: 2 },
    loadOptions: { endpoint: 'http://h.example', device: 'wasm', maxMemory: '6GB', revision: 'main' },
  })
  expect(readAddress(new URL('https://a.example/'))).toEqual({ settings: {}, loadOptions: {} })
})

test('a link holds the settings, and the revision only if it is a commit', () => {
  const page = new URL('https://a.example/app/?prompt=old#x')
  const settings = { model: 'x/y', prompt: 'a b', seed: 1 }
  expect(shareLink(page, { ...settings, revision: 'unversioned' })).toBe('https://a.example/app/?model=x%2Fy&prompt=a+b&seed=1')
  const commit = 'a'.repeat(40)
  expect(new URL(shareLink(page, { ...settings, revision: commit })).searchParams.get('revision')).toBe(commit)
})
