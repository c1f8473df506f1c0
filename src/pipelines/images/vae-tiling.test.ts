import { AutoencoderKL } from '../../models/autoencoders/autoencoder-kl.js'
import { AutoencoderKLFlux2 } from '../../models/autoencoders/autoencoder-kl-flux2.js'
import { AutoencoderTiny } from '../../models/autoencoders/autoencoder-tiny.js'
import type { AutoencoderDefinition } from '../../models/types.js'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { matchWeights } from '../../models/match-weights.js'
import { fixtures, plain, readJson, readSafetensors, readWeights, runGraph } from '../../models/testing.node.js'
import { relativeError } from '../testing.js'
import type { PlainTensor } from '../types.js'
import { workInTiles, type Box } from './vae-tiling.js'
import { tileChoices } from '../latent-geometry.js'

const network = (definition: AutoencoderDefinition, path: string, file: string) => ({
  model: definition.fromConfig(readJson(join(fixtures, path, 'config.json'))),
  definition,
  table: readWeights(join(fixtures, path)),
  reference: readSafetensors(join(fixtures, 'vae-tiling', file)),
})
const config = readJson(join(fixtures, 'tiny-sdxl/repo/vae/config.json'))
const kl = network(AutoencoderKL, 'tiny-sdxl/repo/vae', 'reference.safetensors')
const tiny = network(AutoencoderTiny, 'vae-tiling/tiny-vae', 'tiny-vae.safetensors')

/** A part of [1, channels, rows, columns]. */
function cut({ dims, data }: PlainTensor, { top, left, height, width }: Box): PlainTensor {
  const [, , rows = 0, columns = 0] = dims
  const part = data.filter((_, i) => {
    const [row, column] = [Math.floor(i / columns) % rows, i % columns]
    return row >= top && row < top + height && column >= left && column < left + width
  })
  return { dims: [1, part.length / (height * width), height, width], data: part }
}

test.each([
  ['decoded', 'AutoencoderKL', kl, 'latents', 'sample', { from: 8, to: 64 }, {}],
  ['encoded', 'AutoencoderKL', kl, 'pixels', 'moments', { from: 64, to: 8 }, { part: 'encoder' }],
  ['decoded', 'AutoencoderTiny', tiny, 'latents', 'sample', { from: 16, to: 128 }, {}],
  ['encoded', 'AutoencoderTiny', tiny, 'pixels', 'encoded', { from: 128, to: 16 }, { part: 'encoder' }],
] as const)(
  "tiles are %s and blended as by diffusers' %s",
  async (_, __, { model, definition, table, reference }, from, to, edges, variant) => {
    const input = plain(reference.get(from)!)
    const expected = plain(reference.get(to)!)
    const [, , height = 0, width = 0] = input.dims
    const name = from === 'pixels' ? 'sample' : from
    const output = to === 'encoded' ? 'latents' : to
    const work = async (box: Box): Promise<PlainTensor> => {
      const part = cut(input, box)
      const written = model.write(
        { [name]: part.dims },
        { dtype: 'float32', weights: 'initializer', granularity: 'component' },
        variant,
      )
      const [graph] = matchWeights(definition, [written], table).graphs
      return (await runGraph(graph!, table, { [name]: part }))[output]!
    }
    const result = await workInTiles({ height, width }, edges, model.tileJoint, work)
    expect(relativeError(result, expected)).toBeLessThan(1e-4)
  },
)

const flat = async ({ height, width }: Box): Promise<PlainTensor> => ({
  dims: [1, 1, height * 2, width * 2],
  data: new Float32Array(height * width * 4).fill(0.5),
})

test('a decoder with a constant result leaves no seam', async () => {
  for (const [height, width] of [
    [8, 8],
    [9, 20],
    [24, 7],
  ] as const) {
    const { dims, data } = await workInTiles({ height, width }, { from: 8, to: 16 }, 'fading', flat)
    expect(dims).toEqual([1, 1, 2 * height, 2 * width])
    expect(new Set(data)).toEqual(new Set([0.5]))
  }
})

test('the default tile has the size for which the autoencoder was trained', () => {
  expect(kl.model.tile).toBe(8)
  expect(AutoencoderKL.fromConfig({ ...config, sample_size: 512 }).tile).toBe(64)
  expect(AutoencoderKL.fromConfig({ ...config, sample_size: [1024, 1024] }).tile).toBe(128)
})

test.each<[object, [number, number], boolean | undefined, (number | undefined)[]]>([
  // Without the option, tiles are used if memory is too small: from the default size down to 32 latent pixels, but smaller than the image.
  [{ sample_size: 1024 }, [160, 160], undefined, [undefined, 128, 64, 32]],
  [{ sample_size: 1024 }, [128, 96], undefined, [undefined, 64, 32]],
  [{ sample_size: 1024 }, [96, 128], false, [undefined]],
  [{ sample_size: 384 }, [160, 20], undefined, [undefined, 48, 32]],
  // If the config has no size or a tiny one, tiles have 32 latent pixels, because smaller ones would be visible.
  [{ sample_size: undefined }, [160, 160], undefined, [undefined, 32]],
  [{ sample_size: 64 }, [33, 8], undefined, [undefined, 32]],
  [{ sample_size: 64 }, [32, 32], undefined, [undefined]],
  // If the caller requests tiles, they have the same size as in diffusers.
  [{ sample_size: undefined }, [160, 160], true, [4]],
  [{ sample_size: 64 }, [8, 9], true, [8]],
  [{ sample_size: 64 }, [8, 8], true, [undefined]],
  [{ sample_size: 1024 }, [129, 8], true, [128, 64, 32]],
  [{ sample_size: 1024 }, [100, 100], true, [undefined, 64, 32]],
  // A tile's edge is a multiple of 4 latent pixels, so 75 is rounded down to 72.
  [{ sample_size: 600 }, [160, 160], true, [72, 36, 32]],
  [{ sample_size: 600 }, [75, 75], true, [undefined, 72, 36, 32]],
  [{ sample_size: 600 }, [160, 160], undefined, [undefined, 72, 36, 32]],
  [{ sample_size: 8 }, [5, 4], true, [4]],
])('%j: an image of %j with tiling %s is made in %j', (more, [height, width], tiling, expected) => {
  expect(tileChoices(AutoencoderKL.fromConfig({ ...config, ...more }), { height, width }, tiling)).toEqual(expected)
})

test('AutoencoderTiny is run on a tile at each step of its grid, even if one tile contains the image, as in diffusers', () => {
  expect(tiny.model).toMatchObject({ tile: 64, tileJoint: 'covering' })
  for (const [edge, expected] of [
    [56, [undefined, 32]],
    [57, [64, 32]],
    [65, [64, 32]],
  ] as const)
    expect(tileChoices(tiny.model, { height: edge, width: 8 }, true)).toEqual(expected)
  expect(tileChoices(tiny.model, { height: 60, width: 8 }, undefined)).toEqual([undefined, 32])
})

test('the smallest tiles of packed latents have as many image pixels as those of others', () => {
  expect(tileChoices(AutoencoderKLFlux2.fromConfig({}), { height: 64, width: 64 }, undefined)).toEqual([undefined, 32, 16])
})
