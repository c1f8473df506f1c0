/**
 * Checkpoints in one file: the tensors that they become are those that diffusers' `from_single_file` makes, for tiny files byte by byte and
 * for published models by name and shape (fixtures/single-files).
 */

import { describe, expect, it } from 'vitest'
import { memoryRepository } from '../../testing.js'
import { decodeFloats } from '../../element-types.js'
import { readTensorFile } from '../../tensor-file.js'
import { transformTable } from '../../transforms/transform-table.js'
import type { TensorEntry, WeightTable } from '../../types.js'
import { chromaNames } from './chroma-names.js'
import { namesOf, recognizeFamily } from './families.js'
import { openFolderComponent } from '../diffusers-folder.js'
import type { ComponentFiles } from '../layout.js'
import { checkSingleFileName, openSingleFile, singleFileComponent } from './single-file.js'
import { takeNetwork } from './tensor-pieces.js'
import {
  componentFileOf,
  fixtureFile,
  folderOf,
  folderTable,
  fullSize,
  recipes,
  singleFileOf,
  weightTable,
} from './testing.node.js'

const noBytes = { byteLength: 0, read: () => Promise.reject(new Error('No tensor is read.')) }

function tableOf(shapes: Readonly<Record<string, readonly number[]>>): WeightTable {
  return new Map(
    Object.entries(shapes).map(([name, shape]): [string, TensorEntry] => {
      const bytes = 2 * shape.reduce((product, dim) => product * dim, 1)
      return [name, { name, dtype: 'F16', shape, source: noBytes, begin: 0, end: bytes }]
    }),
  )
}

/** The bytes of a file of the fixtures. */
async function folderFile(path: string): Promise<Uint8Array<ArrayBuffer>> {
  const source = await fixtureFile(`${path}.safetensors`)
  return source.read({ begin: 0, end: source.byteLength })
}

/** The name without `text_model.`: transformers 5 names the tensors of a CLIPTextModel like this. */
const oldName = (tensor: string) => tensor.replace(/^text_model\./, '')

const bytesOf = async ({ source, begin, end }: TensorEntry) => Buffer.from(await source.read({ begin, end }))

/** Opens a fixture as a single file, with the configs of its folders. */
async function open(fixture: string, file: Uint8Array<ArrayBuffer>, replaced: readonly string[] = []) {
  const warnings: string[] = []
  const messages: string[] = []
  const repository = memoryRepository({ 'model.safetensors': file })
  const source = await repository.open('model.safetensors')
  const layout = await openSingleFile({
    file: { repository, path: 'model.safetensors' },
    header: await readTensorFile(source, 'model.safetensors'),
    config: folderOf(fixture),
    replaced,
    open: () => Promise.reject(new Error('The config is given.')),
    warn: (code, message) => {
      warnings.push(code)
      messages.push(message)
    },
  })
  return { layout, warnings, messages }
}

const labels = {
  sd15: 'Stable Diffusion 1',
  sd21: 'Stable Diffusion 2',
  sdxl: 'Stable Diffusion XL',
  'sd3-medium': 'Stable Diffusion 3 medium',
  'sd35-medium': 'Stable Diffusion 3.5 medium',
  'sd35-large': 'Stable Diffusion 3.5 large',
  'flux-dev': 'FLUX.1 dev',
  'flux-schnell': 'FLUX.1 schnell',
  chroma: 'Chroma',
  'flux2-klein-4b': 'FLUX.2-klein 4B',
  'flux2-klein-9b': 'FLUX.2-klein 9B',
  'z-image': 'Z-Image',
}

describe.each(Object.entries(fullSize))('the published file of %s', (model, { tables, tensors }) => {
  const file = tableOf(tensors)

  it('is recognized by its tensors', () => {
    expect(recognizeFamily(file, 'model.safetensors').label).toBe(labels[model as keyof typeof labels])
  })

  it.each(Object.entries(tables))('has every tensor of its %s, and no other', (component, table) => {
    const { config, shapes } = weightTable(table)
    const names = namesOf(component, file)
    if (names === undefined) throw new Error(`There is no ${component}.`)
    const taken = takeNetwork(names, config).apply(file)
    const parameters = [...taken].filter(([name]) => !name.endsWith('position_ids'))
    const found = Object.fromEntries(parameters.map(([name, { shape }]) => [name, shape]))
    expect(found).toEqual(shapes)
    for (const [, { begin, end, shape, dtype }] of parameters)
      expect(end - begin).toBe(shape.reduce((product, dim) => product * dim, dtype === 'F32' ? 4 : 2))
  })

  it('leaves out what diffusers leaves out', () => {
    const used = new Set<string>()
    for (const [component, table] of Object.entries(tables)) {
      const names = namesOf(component, file)
      if (names === undefined) continue
      const { prefix } = names
      const originals = new Map(
        [...file].flatMap(([name, entry]) => (name.startsWith(prefix) ? [[name.slice(prefix.length), entry]] : [])),
      )
      const pieces = names.pieces(weightTable(table).config, originals)
      for (const name of originals.keys()) if (pieces(name).length > 0) used.add(prefix + name)
    }
    const left = [...file.keys()]
      .filter((name) => !used.has(name))
      .map((name) => name.replace(/.*resblocks\.23\..*/, 'last layer'))
    const expected: Readonly<Record<string, readonly string[]>> = {
      sd15: ['alphas_cumprod', 'betas', 'model_ema.decay'],
      sd21: [
        'betas',
        'cond_stage_model.model.attn_mask',
        'cond_stage_model.model.logit_scale',
        'cond_stage_model.model.text_projection',
        'last layer',
      ],
      sdxl: ['conditioner.embedders.1.model.logit_scale', 'denoiser.sigmas'],
      'z-image': ['model.diffusion_model.norm_final.weight'],
    }
    expect([...new Set(left)].toSorted()).toEqual(expected[model] ?? [])
  })
})

describe.each(Object.keys(recipes))('%s as one file', (fixture) => {
  it('has the bytes of its folders', async () => {
    const { layout } = await open(fixture, await singleFileOf(fixture))
    for (const component of Object.keys(recipes[fixture] ?? {})) {
      const weights = await layout.components
        .get(component)
        ?.files.chooseWeights({ library: 'diffusers', missingVariant: 'fallback' })
      if (weights === undefined) throw new Error(`There is no ${component}.`)
      const table = transformTable(await weights.read(), weights.transforms)
      const folder = await folderTable(fixture, component)
      for (const [name, entry] of folder) {
        // diffusers has the identity for the projection of Stable Diffusion 3's first encoder, whatever the file has.
        if (
          name.endsWith('position_ids') ||
          (fixture.startsWith('tiny-sd3') && component === 'text_encoder' && name === 'text_projection.weight')
        )
          continue
        const taken = table.get(name)
        if (taken === undefined) throw new Error(`${component} has no ${name}.`)
        expect({ name, shape: taken.shape, dtype: taken.dtype }).toEqual({ name, shape: entry.shape, dtype: entry.dtype })
        expect((await bytesOf(taken)).equals(await bytesOf(entry)), `${component} ${name}`).toBe(true)
        const [half, end] = [taken.begin + Math.floor((taken.end - taken.begin) / 8) * 4, taken.end]
        const part = Buffer.from(await taken.source.read({ begin: half, end }))
        expect(part.equals((await bytesOf(entry)).subarray(half - taken.begin))).toBe(true)
      }
    }
  })
})

it('of several prefixes, a text encoder takes the one of most tensors, and an autoencoder takes vae., as in diffusers', async () => {
  const number = { dtype: 'F32', shape: [1], bytes: new Uint8Array(4) } as const
  const left = ['cond_stage_model.transformer.text_model.embeddings.position_ids', 'vae.x'].map((name) =>
    Object.assign({ name }, number),
  )
  const file = await singleFileOf('tiny-sd21', left)
  const { tensors } = await readTensorFile(await memoryRepository({ x: file }).open('x'), 'x')
  expect(namesOf('text_encoder', tensors)?.prefix).toBe('cond_stage_model.model.')
  expect(namesOf('vae', tensors)?.prefix).toBe('first_stage_model.')
  const both = new Map(tensors)
  for (const [name, entry] of tensors) both.set(name.replace('first_stage_model.', 'vae.'), entry)
  expect(namesOf('vae', both)?.prefix).toBe('vae.')
  // diffusers does not compare how many tensors each prefix has.
  const more = new Map(both).set('first_stage_model.model_ema.decay', tensors.get('vae.x') as TensorEntry)
  expect(namesOf('vae', more)?.prefix).toBe('vae.')
})

describe.each(['tiny-sd15', 'tiny-sdxl', 'tiny-sd3', 'tiny-flux', 'tiny-chroma', 'tiny-z-image'])(
  'an autoencoder in a file of %s',
  (fixture) => {
    it.each(['vae.', 'first_stage_model.'])('is read under %s', async (prefix) => {
      const file = await singleFileOf(fixture, [], (name) => name.replace(/^(?:vae|first_stage_model)\./, prefix))
      const { layout } = await open(fixture, file)
      const files = layout.components.get('vae')?.files
      expect(files?.repository.id).toBe('memory')
      const weights = await files?.chooseWeights({ library: 'diffusers', missingVariant: 'fallback' })
      const table = transformTable((await weights?.read()) ?? new Map(), weights?.transforms ?? [])
      for (const [name, entry] of await folderTable(fixture, 'vae')) {
        const taken = table.get(name)
        if (taken === undefined) throw new Error(`The vae has no ${name}.`)
        expect((await bytesOf(taken)).equals(await bytesOf(entry)), name).toBe(true)
      }
    })
  },
)

it('names the tensors of the file that no component uses', async () => {
  const qwen = { dtype: 'F32', shape: [1], bytes: new Uint8Array(4) } as const
  const names = ['text_encoders.qwen3_4b.transformer.model.norm.weight', 'text_encoders.qwen3_4b.logit_scale']
  const other = names.map((name) => Object.assign({ name }, qwen))
  const { messages } = await open('tiny-z-image', await singleFileOf('tiny-z-image', other))
  expect(messages).toEqual([expect.stringMatching(/no text_encoder under .* begin with text_encoders\.qwen3_4b\.\. Aquatint/)])
  const { messages: usual } = await open('tiny-z-image', await singleFileOf('tiny-z-image'))
  expect(usual).toEqual([expect.stringMatching(/has no text_encoder, like most files/)])
})

it('leaves out modulations in a file of Chroma, as diffusers does', () => {
  const [names, config] = [chromaNames(''), weightTable('chroma-transformer').config]
  const pieces = names.pieces(config, new Map())
  const modulations = ['double_blocks.0.img_mod.lin.weight', 'single_blocks.3.modulation.lin.bias', 'vector_in.in_layer.weight']
  for (const name of [...modulations, 'final_layer.adaLN_modulation.1.weight', 'guidance_in.in_layer.bias'])
    expect(pieces(name), name).toEqual([])
})

it("has the identity for the text projection of Stable Diffusion 3's first encoder", async () => {
  const { layout } = await open('tiny-sd3', await singleFileOf('tiny-sd3'))
  const weights = await layout.components
    .get('text_encoder')
    ?.files.chooseWeights({ library: 'transformers', missingVariant: 'fallback' })
  const entry = transformTable((await weights?.read()) ?? new Map(), weights?.transforms ?? []).get('text_projection.weight')
  if (entry === undefined) throw new Error('There is no projection.')
  expect(entry.shape).toEqual([24, 24])
  const values = new Float32Array(Uint8Array.from(await bytesOf(entry)).buffer)
  expect([...values].filter((value) => value !== 0)).toEqual(Array(24).fill(1))
  expect([0, 25, 50].map((i) => values[i])).toEqual([1, 1, 1])
})

it.each(['F8_E4M3', 'F8_E5M2', 'BF16'] as const)('%s: every value is that of torch', async (dtype) => {
  const source = await fixtureFile('single-files/float8.safetensors')
  const { tensors } = await readTensorFile(source, 'float8.safetensors')
  const [given, expected] = [tensors.get(dtype), tensors.get(`${dtype}.float32`)]
  if (given === undefined || expected === undefined) throw new Error(`The fixture has no ${dtype}.`)
  expect(given.dtype).toBe(dtype)
  const values = decodeFloats(Uint8Array.from(await bytesOf(given)), dtype)
  expect(values).toEqual(decodeFloats(Uint8Array.from(await bytesOf(expected)), 'F32'))
})

describe('files that are no checkpoint', () => {
  const unet = 'model.diffusion_model.'
  const cases: readonly [what: string, shapes: Readonly<Record<string, readonly number[]>>, said: RegExp][] = [
    ['a LoRA', { 'lora_unet_down_blocks_0.lora_up.weight': [4, 4] }, /is a LoRA/],
    ['inpainting', { [`${unet}input_blocks.0.0.weight`]: [320, 9, 3, 3] }, /is an inpainting checkpoint/],
    [
      'the refiner',
      { 'conditioner.embedders.0.model.ln_final.bias': [8], [`${unet}input_blocks.0.0.weight`]: [8, 4, 3, 3] },
      /refiner/,
    ],
    [
      'FLUX.1 Fill',
      {
        'double_blocks.0.img_attn.norm.key_norm.scale': [8],
        'vector_in.in_layer.weight': [8, 8],
        'img_in.weight': [8, 384],
      },
      /is a FLUX\.1 Fill/,
    ],
    [
      'FLUX.2 dev',
      { 'guidance_in.in_layer.weight': [8, 8], 'single_stream_modulation.lin.weight': [8, 8] },
      /is a FLUX\.2 dev checkpoint/,
    ],
    [
      'Chroma Radiance',
      { 'distilled_guidance_layer.in_proj.bias': [8], 'nerf_image_embedder.embedder.0.weight': [8, 8] },
      /is a Chroma Radiance checkpoint/,
    ],
    ['one component', { 'down_blocks.0.resnets.0.conv1.weight': [8, 8, 3, 3] }, /diffusers' own names: it is one component/],
    ['an autoencoder alone', { 'first_stage_model.decoder.conv_in.weight': [8, 4, 3, 3] }, /autoencoder or text encoders alone/],
    [
      'an autoencoder without a prefix',
      { 'decoder.mid.block_1.conv1.weight': [8, 8, 3, 3] },
      /autoencoder or text encoders alone/,
    ],
    ['something else', { 'a.b': [1] }, /no known family/],
    ['nothing', {}, /first tensor is none/],
  ]
  it.each(cases)('%s is refused, and the error says what it is', (_what, shapes, said) => {
    expect(() => recognizeFamily(tableOf(shapes), 'x.safetensors')).toThrow(
      expect.objectContaining({ code: 'single-file-family', message: expect.stringMatching(said) as string }),
    )
  })

  it('a pickle file is refused by its name', () => {
    expect(() => checkSingleFileName('v1-5-pruned.ckpt')).toThrow(expect.objectContaining({ code: 'pickle-weights' }))
  })
})

/** The weights of a component in a file whose tensors are these, with the config of a fixture. */
async function componentTable(fixture: string, name: string, file: Uint8Array<ArrayBuffer>) {
  const repository = memoryRepository({ 'x.safetensors': file })
  const { tensors } = await readTensorFile(await repository.open('x.safetensors'), 'x.safetensors')
  const { files } = await openFolderComponent(folderOf(fixture), name, 'config.json', undefined)
  const alone = singleFileComponent(name, files, { repository, path: 'x.safetensors' }, tensors)
  const weights = await alone.chooseWeights({ library: 'diffusers', missingVariant: 'fallback' })
  return transformTable(await weights.read(), weights.transforms)
}

describe('a file of one component', () => {
  it.each([
    ['an autoencoder under its original names', 'tiny-sd15', 'vae', () => componentFileOf('tiny-sd15', 'vae')],
    ['an autoencoder under the names of a checkpoint', 'tiny-sd15', 'vae', () => singleFileOf('tiny-sd15')],
    ['a UNet under its original names', 'tiny-sd15', 'unet', () => componentFileOf('tiny-sd15', 'unet')],
    [
      "a UNet under diffusers' names",
      'few-steps/lcm',
      'unet',
      () => folderFile('few-steps/lcm/repo/unet/diffusion_pytorch_model'),
    ],
    [
      "a text encoder under transformers' names",
      'tiny-sd15',
      'text_encoder',
      () => folderFile('tiny-sd15/repo/text_encoder/model'),
    ],
    [
      'a text encoder as transformers 5 saves it',
      'few-steps/lcm',
      'text_encoder',
      () => folderFile('few-steps/lcm/repo/text_encoder/model'),
    ],
  ])('%s has the bytes of its folder', async (_what, fixture, name, fileOf) => {
    const table = await componentTable(fixture, name, await fileOf())
    for (const [tensor, entry] of await folderTable(fixture, name)) {
      if (tensor.endsWith('position_ids')) continue
      const taken = table.get(tensor) ?? table.get(oldName(tensor))
      if (taken === undefined) throw new Error(`${name} has no ${tensor}.`)
      expect((await bytesOf(taken)).equals(await bytesOf(entry)), tensor).toBe(true)
    }
  })

  it.each(['scaled_fp8', 'double_blocks.0.img_attn.proj.scale_weight', 'layers.0.attention.out.weight_scale'])(
    'is refused where its weights are scaled: %s',
    (name) => {
      const file = { repository: memoryRepository({}), path: 'x.safetensors' }
      expect(() => singleFileComponent('transformer', {} as ComponentFiles, file, tableOf({ [name]: [2] }))).toThrow(
        expect.objectContaining({
          code: 'single-file-family',
          message: expect.stringMatching(/The transformer in x\.safetensors has weights in 8 bits with a scale/) as string,
        }),
      )
    },
  )
})

it('scaled weights are refused in components that are needed, and in no others', async () => {
  const scale = {
    name: 'text_encoders.t5xxl.transformer.scaled_fp8',
    dtype: 'F8_E4M3',
    shape: [0],
    bytes: new Uint8Array(),
  } as const
  const file = await singleFileOf('tiny-sd3', [scale])
  await expect(open('tiny-sd3', file)).rejects.toMatchObject({
    code: 'single-file-family',
    details: { component: 'text_encoder_3' },
  })
  expect((await open('tiny-sd3', file, ['text_encoder_3'])).layout.components.has('transformer')).toBe(true)
})

it('Playground v2.5 is recognized by the statistics of its latents', () => {
  const file = tableOf({ ...fullSize['sdxl']?.tensors, edm_mean: [1, 4, 1, 1], edm_std: [1, 4, 1, 1] })
  expect(recognizeFamily(file, 'model.safetensors').label).toBe('Playground v2.5')
})

it('names the component that a file lacks', async () => {
  const { layout } = await open('tiny-sd35', await singleFileOf('tiny-sd35'))
  const { layout: sd3 } = await open('tiny-sd3', await singleFileOf('tiny-sd35'))
  expect(layout.components.get('text_encoder_3') ?? null).toBeNull()
  await expect(
    sd3.components.get('text_encoder_3')?.files.chooseWeights({ library: 'transformers', missingVariant: 'fallback' }),
  ).rejects.toMatchObject({ code: 'single-file-component', message: expect.stringContaining('text_encoder_3') as string })
})

it('warns where the file says that it predicts velocity', async () => {
  const marker = { dtype: 'F32', shape: [0], bytes: new Uint8Array() } as const
  const file = await singleFileOf('tiny-sd15', [
    { name: 'v_pred', ...marker },
    { name: 'ztsnr', ...marker },
  ])
  expect((await open('tiny-sd15', file)).warnings).toEqual(['single-file-prediction', 'single-file-prediction'])
})
