/** How latents come to the autoencoder's scale, against what torch gives for diffusers' formulas in float32. */
import { expect, test } from 'vitest'
import type { Config } from '../checkpoint/types.js'
import { unscaleLatents, type LatentScaling } from './vae-decoder.js'

const latents = { dims: [1, 4, 1, 2], data: Float32Array.of(0.3, -1.7, 2.2, 0.01, -0.55, 1.3, 0.9, -2.4) }
const statistics = { latents_mean: [-1.6574, 1.886, -1.383, 2.5155], latents_std: [8.4927, 5.9022, 6.5498, 5.2299] }

test.each<[string, LatentScaling, Config, readonly number[]]>([
  [
    'latents / scaling_factor',
    'scale',
    { scaling_factor: 0.13025 },
    [
      2.303262948989868, -13.051822662353516, 16.890594482421875, 0.07677542418241501, -4.222648620605469, 9.980805397033691,
      6.909788131713867, -18.426103591918945,
    ],
  ],
  [
    'latents * latents_std / scaling_factor + latents_mean',
    'scale-or-statistics',
    { scaling_factor: 0.5, ...statistics },
    [
      3.4382200241088867, -30.53257942199707, 27.855680465698242, 2.0040440559387207, -8.587779998779297, 15.646479606628418,
      11.929319381713867, -22.58802032470703,
    ],
  ],
  [
    'latents / scaling_factor + shift_factor',
    'scale-and-shift',
    { scaling_factor: 1.5305, shift_factor: 0.0609 },
    [
      0.2569143772125244, -1.049848198890686, 1.4983386993408203, 0.06743381172418594, -0.2984596788883209, 0.9102955460548401,
      0.6489430665969849, -1.5072150230407715,
    ],
  ],
])('%s', (_, scaling, config, expected) => {
  expect([...unscaleLatents(latents, config, scaling).data]).toEqual(expected)
})

test('statistics count where both are there and the family uses them', () => {
  const plain = unscaleLatents(latents, { scaling_factor: 0.5 }, 'scale')
  const config = { scaling_factor: 0.5, ...statistics }
  expect(unscaleLatents(latents, config, 'scale')).toEqual(plain)
  expect(unscaleLatents(latents, { ...config, latents_std: null }, 'scale-or-statistics')).toEqual(plain)
  expect(() => unscaleLatents(latents, { ...config, latents_std: [1, 2] }, 'scale-or-statistics')).toThrow('list of 4 numbers')
})
