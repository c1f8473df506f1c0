import { expect, test } from 'vitest'
import { placeComponents } from './device-map.js'
import type { ComponentNeeds } from './memory-estimate.js'

function needs(name: string, bytes: number): ComponentNeeds {
  return { name, blocks: [{ name: 'all', bytes }], sharedBytes: 0, activationBytes: 10 }
}

const parts = [needs('text_encoder', 200), needs('unet', 900), needs('vae', 100)]
const devices = [
  { name: 'webgpu', maxMemory: 1000 },
  { name: 'wasm', maxMemory: 400 },
]

test('a map by name, the rest on the first device or the one named for them', () => {
  expect(placeComponents(parts, { text_encoder: 'wasm' }, devices)).toEqual({
    text_encoder: 'wasm',
    unet: 'webgpu',
    vae: 'webgpu',
  })
  expect(placeComponents(parts, { unet: 'webgpu', '': 'wasm' }, devices)).toEqual({
    text_encoder: 'wasm',
    unet: 'webgpu',
    vae: 'wasm',
  })
  expect(() => placeComponents(parts, { transformer: 'webgpu' }, devices)).toThrow(
    /transformer; the pipeline has text_encoder, unet, vae/,
  )
  expect(() => placeComponents(parts, { unet: 'cuda' }, devices)).toThrow(/unet on cuda; there are webgpu, wasm/)
})

test('balanced gives the largest the most room', () => {
  expect(placeComponents(parts, 'balanced', devices)).toEqual({ text_encoder: 'wasm', unet: 'webgpu', vae: 'wasm' })
})

test('what fits nowhere says how many bytes it needs and what was offered', () => {
  const small = [
    { name: 'webgpu', maxMemory: 500 },
    { name: 'wasm', maxMemory: 400 },
  ]
  expect(() => placeComponents(parts, 'balanced', small)).toThrow(/unet needs 910 bytes .* no device has more than 500/)
  expect(() => placeComponents(parts, 'balanced', [])).toThrow(/unet needs 910 bytes/)
})
