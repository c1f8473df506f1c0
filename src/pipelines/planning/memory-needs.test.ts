import { CLIPTextModel } from '../../models/text-encoders/clip-text-model.js'
import { join } from 'node:path'
import { capabilitiesOf, ownKernels } from '../../memory/device-info.js'
import { expect, test } from 'vitest'
import { fixtures, readJson, readWeights } from '../../models/testing.node.js'
import { createScheduler, schedulerClassNames } from '../../schedulers/registry.js'
import {
  autoencoderNeeds,
  heldBytes,
  heldOn,
  mostKeptLatents,
  needsOn,
  networkNeeds,
  type PlannedDevice,
} from './memory-needs.js'
import type { Config } from '../../checkpoint/types.js'
import { AutoencoderKL } from '../../models/autoencoders/autoencoder-kl.js'
import { T5EncoderModel } from '../../models/text-encoders/t5-encoder-model.js'
import { SD3Transformer2DModel } from '../../models/transformers/transformer-sd3.js'
import type { NetworkModel } from '../../models/types.js'
import { UNet2DConditionModel } from '../../models/unets/unet-2d-condition.js'
import type { Network } from '../bind-network.js'

const t5 = T5EncoderModel.fromConfig({ d_model: 64 })
const transformer = SD3Transformer2DModel.fromConfig({ in_channels: 16, patch_size: 2, joint_attention_dim: 64 })
const size = { width: 8, height: 4 }

test("Stable Diffusion 3 is planned with T5's tokens, diffusers' 256 by default, after CLIP's 77", () => {
  expect(t5.shapes(size)).toEqual({ inputs_embeds: [1, 256, 64] })
  expect(transformer.shapes(size)['encoder_hidden_states']).toEqual([2, 333, 64])
  const longer = { ...size, images: 3, maxSequenceLength: 512 }
  expect(t5.shapes(longer)).toEqual({ inputs_embeds: [1, 512, 64] })
  expect(transformer.shapes(longer)).toEqual({ hidden_states: [6, 16, 4, 8], encoder_hidden_states: [6, 589, 64] })
})

test('without guidance the denoiser is planned with half the batch', () => {
  const alone = { ...size, images: 3, guided: false }
  expect(transformer.shapes(alone)).toEqual({ hidden_states: [3, 16, 4, 8], encoder_hidden_states: [3, 333, 64] })
  expect(t5.shapes(alone)).toEqual(t5.shapes(size))
})

const tiny = <Model extends NetworkModel>(
  fixture: string,
  name: string,
  definition: { readonly fromConfig: (config: Config) => Model },
): Network<Model> => {
  const folder = join(fixtures, fixture, 'repo', name)
  return { name, model: definition.fromConfig(readJson(join(folder, 'config.json'))), table: readWeights(folder), repo: fixture }
}
const sd3 = tiny('tiny-sd3', 'transformer', SD3Transformer2DModel)
const vae = tiny('tiny-sdxl', 'vae', AutoencoderKL)
const unet = tiny('tiny-sdxl', 'unet', UNet2DConditionModel)
const encoder = tiny('tiny-sdxl', 'text_encoder', CLIPTextModel)

/** Elements that stay beside SD3's networks for two images. */
const held = (more: object): number => {
  const wanted = { ...size, images: 2, ...more }
  return heldBytes(networkNeeds(sd3, sd3.model.shapes(wanted), { dtype: 'float32' }), sd3.model, wanted) / 4
}

test("the denoiser's inputs, the kept latents, and the copy of the prompt for skip-layer guidance stay beside the networks", () => {
  const latents = 2 * 16 * 4 * 8
  // One half of the guided batch: embeddings of 77 + 256 tokens and a pooled vector, for two images.
  const half = 2 * (333 * 64 + 40)
  // The other inputs are the positions of 2 × 4 patches, once, and the projection of the timestep, for each image of the batch.
  expect(held({})).toBe(2 * half + 8 * 32 + 4 * 256 + 2 * latents + 6 * latents)
  expect(held({ guided: false })).toBe(half + 8 * 32 + 2 * 256 + latents + 6 * latents)
  expect(held({ skipsLayers: true }) - held({})).toBe(half)
})

test('no scheduler keeps more arrays of latents than the plan counts', () => {
  const kept = schedulerClassNames.flatMap((className) =>
    [{}, { solver_order: 3 }].map((config) => {
      const { scheduler } = createScheduler(className, config)
      scheduler.setTimesteps(12)
      return Math.max(...scheduler.timesteps.map((_, index) => scheduler.plan(index).keep?.length ?? 0))
    }),
  )
  expect(Math.max(...kept)).toBe(mostKeptLatents)
})

const device: PlannedDevice = {
  info: {
    name: 'webgpu',
    kind: 'webgpu',
    description: '',
    isFallbackAdapter: false,
    shaderF16: false,
    maxBufferSize: 2 ** 31,
    kernels: ownKernels,
    capabilities: capabilitiesOf.webgpu,
  },
  writeOptions: () => ({ dtype: 'float32', weights: 'input', granularity: 'block' }),
}

test("image to image: the autoencoder's encoder is planned after the text encoders", () => {
  const networks = new Map([encoder, unet, vae].map((network) => [network.name, network]))
  const request = { device, networks, dtype: 'float32', vaeTiling: undefined } as const
  const named = (here: (network: string) => boolean, fromImage: boolean) =>
    needsOn({ ...request, here, size: { ...size, fromImage } }).map(({ name, part }) => [name, part])
  expect(named(() => true, false)).toEqual([
    ['text_encoder', undefined],
    ['unet', undefined],
    ['vae', undefined],
  ])
  expect(named(() => true, true)).toEqual([
    ['text_encoder', undefined],
    ['vae', 'encoder'],
    ['unet', undefined],
    ['vae', undefined],
  ])
  expect(named((name) => name === 'unet', true)).toEqual([['unet', undefined]])
  expect(named((name) => name === 'vae', true)).toEqual([
    ['vae', 'encoder'],
    ['vae', undefined],
  ])
  const encoding = autoencoderNeeds(vae, size, { dtype: 'float32' }, undefined, 'encoder')
  const tensors = [...vae.table.values()].filter(({ name }) => /^(encoder|quant_conv)\./.test(name))
  expect(encoding.blocks.reduce((sum, { bytes }) => sum + bytes, 0)).toBeGreaterThanOrEqual(
    tensors.reduce((sum, { begin, end }) => sum + end - begin, 0),
  )
  expect(encoding.ways[0]?.inputs).toEqual([{ name: 'sample', bytes: 4 * 3 * 32 * 64 }])
  expect(tensors.map(({ name }) => name)).toContain(encoding.largestWeight.name)
})

test('tensors stay on the denoiser’s device; a device with only the autoencoder holds the latents', () => {
  const networks = new Map([encoder, unet, vae].map((network) => [network.name, network]))
  const request = { device, networks, dtype: 'float32', vaeTiling: undefined, size: { ...size, images: 3 } } as const
  const heldFor = (...names: string[]) => {
    const here = (name: string) => names.includes(name)
    return heldOn(request, needsOn({ ...request, here }))
  }
  expect(heldFor('unet')).toBe(heldFor('text_encoder', 'unet', 'vae'))
  expect(heldFor('unet')).toBeGreaterThan(heldFor('vae'))
  expect(heldFor('vae')).toBe(2 * 4 * 3 * 4 * 4 * 8)
  expect(heldFor('text_encoder')).toBe(0)
})

const edges = (height: number, width: number, tiling?: boolean) =>
  autoencoderNeeds(vae, { height, width }, { dtype: 'float32' }, tiling).ways.map(({ tile }) => tile)

test('an autoencoder has a way to run for each tile size: diffusers’ if tiling is on, otherwise at least 32 latent pixels', () => {
  expect(edges(33, 9)).toEqual([undefined, 32])
  expect(edges(32, 32)).toEqual([undefined])
  expect(edges(20, 9, true)).toEqual([8])
  expect(edges(8, 8, true)).toEqual([undefined])
  expect(edges(64, 64, false)).toEqual([undefined])
})
