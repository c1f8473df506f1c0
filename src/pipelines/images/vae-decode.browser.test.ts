/** Scaling latents for the autoencoder on a device of each kind, compared with torch's results for diffusers' formulas in float32. */
import { AutoencoderKL } from '../../models/autoencoders/autoencoder-kl.js'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Config } from '../../checkpoint/types.js'
import { openDevice } from '../../runtime/open-device.js'
import { scaledLatents, shiftedLatents, standardizedLatents } from './latent-scaling.js'
import { scaleLatents } from './vae-decode.js'
import type { Device } from '../../runtime/device.js'

const dims = [1, 4, 1, 2]
const data = Float32Array.of(0.3, -1.7, 2.2, 0.01, -0.55, 1.3, 0.9, -2.4)
const statistics = { latents_mean: [-1.6574, 1.886, -1.383, 2.5155], latents_std: [8.4927, 5.9022, 6.5498, 5.2299] }

/** The scales of four latent channels, computed from an autoencoder's config with these keys. */
const scalesOf = (config: Config, scaling: typeof scaledLatents) => scaling(AutoencoderKL.fromConfig(config).scaling, 4)

let device: Device

describe.each(['webgpu', 'wasm'] as const)('on %s', (kind) => {
  beforeEach(async () => {
    device = await openDevice({ kind })
  })
  afterEach(async () => device.dispose())

  test.each<[string, typeof scaledLatents, Config, readonly number[]]>([
    [
      'latents / scaling_factor',
      scaledLatents,
      { scaling_factor: 0.13025 },
      [
        2.303262948989868, -13.051822662353516, 16.890594482421875, 0.07677542418241501, -4.222648620605469, 9.980805397033691,
        6.909788131713867, -18.426103591918945,
      ],
    ],
    [
      'latents * latents_std / scaling_factor + latents_mean',
      standardizedLatents,
      { scaling_factor: 0.5, ...statistics },
      [
        3.4382200241088867, -30.53257942199707, 27.855680465698242, 2.0040440559387207, -8.587779998779297, 15.646479606628418,
        11.929319381713867, -22.58802032470703,
      ],
    ],
    [
      'latents / scaling_factor + shift_factor',
      shiftedLatents,
      { scaling_factor: 1.5305, shift_factor: 0.0609 },
      [
        0.2569143772125244, -1.049848198890686, 1.4983386993408203, 0.06743381172418594, -0.2984596788883209, 0.9102955460548401,
        0.6489430665969849, -1.5072150230407715,
      ],
    ],
  ])('the autoencoder gets %s', async (_, scaling, config, expected) => {
    const scales = scalesOf(config, scaling)
    const latents = device.upload({ type: 'float32', dims, data }, 'vae')
    const scaled = await scaleLatents(device, latents, scales, 'vae')
    expect(scaled.dims).toEqual(dims)
    const values = await scaled.read()
    for (const [i, value] of expected.entries()) {
      const { scale, shift } = scales[Math.floor(i / 2)]!
      // Aquatint rounds the factor, the product and the sum; torch rounds the factor, the quotient (after a product) and the sum.
      const rounded = 7 * 2 ** -24 * (Math.abs(scale * data[i]!) + Math.abs(shift))
      expect(Math.abs(values[i]! - value)).toBeLessThanOrEqual(rounded)
    }
    latents.dispose()
    scaled.dispose()
  })
})

test('statistics apply if both exist and the family uses them; a divisor of zero is refused', () => {
  const plain = scalesOf({ scaling_factor: 0.5 }, scaledLatents)
  expect(plain).toEqual([1, 2, 3, 4].map(() => ({ scale: 2, shift: 0 })))
  const config = { scaling_factor: 0.5, ...statistics }
  expect(scalesOf(config, scaledLatents)).toEqual(plain)
  expect(scalesOf({ ...config, latents_std: null }, standardizedLatents)).toEqual(plain)
  const refused = expect.objectContaining({ code: 'invalid-config' })
  expect(() => scalesOf({ ...config, latents_std: [1, 2] }, standardizedLatents)).toThrow(refused)
  expect(() => scalesOf({ scaling_factor: 0 }, scaledLatents)).toThrow(refused)
})
