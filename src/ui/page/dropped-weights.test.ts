import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { safetensorsFile } from '../../checkpoint/testing.js'
import { isWeightsName, readDroppedWeights } from './dropped-weights.js'

const kindOf = (name: string, bytes: Uint8Array<ArrayBuffer>) => readDroppedWeights(new File([bytes], name))
const fixture = (path: string) => new Uint8Array(readFileSync(`fixtures/${path}`))

test.each([
  ['lora/kohya', { kind: 'lora' }],
  ['lora/old-diffusers', { kind: 'lora' }],
  ['lora-forms/flux-xlabs', { kind: 'lora' }],
  ['lora-forms/loha', { kind: 'lora' }],
  ['lora-forms/z-image-lokr', { kind: 'lora' }],
  ['textual-inversion/diffusers', { kind: 'embedding', word: '<cat-toy>' }],
  ['textual-inversion/a1111', { kind: 'embedding', word: 'mine' }],
  ['textual-inversion/xl', { kind: 'embedding', word: 'mine' }],
  ['tiny-sd15/repo/vae/diffusion_pytorch_model', { kind: 'checkpoint' }],
])('%s is recognized: %j', async (path, expected) => {
  expect(await kindOf('Mine.safetensors', fixture(`${path}.safetensors`))).toEqual(expected)
})

test('a file that cannot be read is left to the load, which reports it', async () => {
  expect(await kindOf('x.safetensors', new Uint8Array(3))).toEqual({ kind: 'checkpoint' })
  expect(await kindOf('x.safetensors', safetensorsFile('{"a":', 0))).toEqual({ kind: 'checkpoint' })
  expect(await kindOf('x.safetensors', safetensorsFile({}, 0))).toEqual({ kind: 'checkpoint' })
  expect(await kindOf('x.safetensors', safetensorsFile({ weight: { shape: [320, 4, 3, 3] } }, 0))).toEqual({ kind: 'checkpoint' })
})

test.each(['word.pt', 'model.ckpt', 'lora.BIN'])('%s is a pickle by its name, and not read', async (name) => {
  expect([isWeightsName(name), await kindOf(name, new Uint8Array(3))]).toEqual([true, { kind: 'pickle' }])
})
