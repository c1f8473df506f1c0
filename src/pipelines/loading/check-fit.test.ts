/** The configs of published models (fixtures/weight-tables): those of one pipeline fit each other, and a refiner's do not fit SDXL's pipeline. */

import { expect, test } from 'vitest'
import type { Config } from '../../checkpoint/types.js'
import { networkDefinition } from '../../models/registry.js'
import { fixtures, readJson } from '../../models/testing.node.js'
import { families } from '../families.js'
import { findMisfit, noteSize } from './check-fit.js'

function published(name: string) {
  const { _class_name: className, config } = readJson(`${fixtures}weight-tables/${name}.json`) as unknown as {
    readonly _class_name: string
    readonly config: Config
  }
  return networkDefinition(className).fromConfig(config)
}

const sd15 = { text_encoder: 'sd15-text-encoder', unet: 'sd15-unet', vae: 'sd15-vae' }
const sdxl = { text_encoder: 'sdxl-text-encoder', text_encoder_2: 'sdxl-text-encoder-2', unet: 'sdxl-unet', vae: 'sdxl-vae' }
const sd3 = {
  text_encoder: 'sd3-text-encoder',
  text_encoder_2: 'sdxl-text-encoder-2',
  text_encoder_3: 't5-xxl-encoder',
  transformer: 'sd3-medium-transformer',
  vae: 'sd3-vae',
}
const flux = { text_encoder: 'sd15-text-encoder', text_encoder_2: 't5-xxl-encoder', vae: 'flux-vae' }

function check(className: string, names: Readonly<Record<string, string>>) {
  const spec = families.find((family) => family.className === className)
  if (spec === undefined) throw new Error(`There is no ${className}.`)
  const models = new Map(Object.entries(names).map(([component, name]) => [component, published(name)]))
  return { misfit: findMisfit(models, spec, true)?.error.details, note: noteSize(models) }
}

test.each([
  ['StableDiffusionPipeline', sd15],
  ['StableDiffusionPipeline', { ...sd15, vae: 'taesd' }],
  ['StableDiffusionPipeline', { text_encoder: 'sd21-text-encoder', unet: 'sd21-unet', vae: 'sd21-vae' }],
  ['LatentConsistencyModelPipeline', { ...sd15, unet: 'lcm-sd15-unet' }],
  ...['bk-sdm-base', 'bk-sdm-small', 'bk-sdm-tiny'].map(
    (name) => ['StableDiffusionPipeline', { ...sd15, unet: `${name}-unet` }] as const,
  ),
  ...['sdxl', 'lcm-sdxl', 'ssd-1b', 'vega', 'koala-1b', 'koala-700m'].map(
    (name) => ['StableDiffusionXLPipeline', { ...sdxl, unet: `${name}-unet` }] as const,
  ),
  ['StableDiffusion3Pipeline', sd3],
  ...['sd35-medium', 'sd35-large'].map(
    (name) => ['StableDiffusion3Pipeline', { ...sd3, transformer: `${name}-transformer` }] as const,
  ),
  ...['schnell', 'dev'].map((name) => ['FluxPipeline', { ...flux, transformer: `flux-${name}-transformer` }] as const),
  ['ChromaPipeline', { text_encoder: 't5-xxl-encoder', transformer: 'chroma-transformer', vae: 'flux-vae' }],
] as const)('%s of %j fits', (className, names) => {
  expect(check(className, names)).toEqual({ misfit: undefined, note: undefined })
})

test.each([
  ['StableDiffusionPipeline', { ...sd15, unet: 'sd21-unet' }, 'cross_attention_dim', '1024', '768'],
  ['StableDiffusionPipeline', { ...sd15, vae: 'sd3-vae' }, 'in_channels', '4', '16'],
  ['StableDiffusionXLPipeline', { ...sdxl, unet: 'sdxl-refiner-unet' }, 'cross_attention_dim', '1280', '2048'],
  [
    'StableDiffusionXLPipeline',
    { text_encoder_2: 'sdxl-text-encoder-2', unet: 'sdxl-refiner-unet', vae: 'sdxl-vae' },
    'projection_class_embeddings_input_dim',
    '2560',
    '2816',
  ],
  ['FluxPipeline', { ...flux, transformer: 'flux-dev-transformer', vae: 'sd15-vae' }, 'in_channels', '16', '4'],
] as const)('%s of %j does not fit', (className, names, key, value, allowed) => {
  expect(check(className, names).misfit).toMatchObject({ key, value, allowed: [allowed] })
})
