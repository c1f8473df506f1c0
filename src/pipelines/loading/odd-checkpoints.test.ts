/**
 * Checkpoints that diffusers loads although they are not as `save_pretrained` writes them: they load here too, and the notes name what was ignored,
 * assumed or replaced. Each case was tried with diffusers 0.42 and transformers 5.
 */

import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { openLayout } from '../../checkpoint/layouts/open-layout.js'
import { families } from '../families.js'
import { Run } from '../run.js'
import { diskRepository, fixtures } from '../testing.node.js'
import type { LoadPipelineOptions } from '../types.js'
import { findSpec } from './find-pipeline.js'
import { readNetworkHeaders } from './read-network-headers.js'
import { readParts, readPartsWithFaults } from './read-parts.js'

type Fixture = 'tiny-sd15' | 'tiny-sdxl' | 'tiny-sd3' | 'tiny-flux' | 'tiny-chroma' | 'tiny-flux2-klein' | 'tiny-z-image'
type Files = Readonly<Record<string, string | Uint8Array>>

const folder = (fixture: Fixture) => `${fixtures}${fixture}/repo`
const json = (fixture: Fixture, path: string) =>
  JSON.parse(readFileSync(`${folder(fixture)}/${path}`, 'utf8')) as Record<string, unknown>
/** A fixture's JSON file with these keys added or changed. */
const edited = (fixture: Fixture, path: string, keys: object): Files => ({
  [path]: JSON.stringify({ ...json(fixture, path), ...keys }),
})

/** Reads a fixture, with some files replaced, up to the headers of its weights. */
async function load(
  fixture: Fixture,
  files: Files,
  options: LoadPipelineOptions = {},
  other: () => ReturnType<typeof diskRepository> = noOther,
) {
  const run = new Run({})
  const layout = await openLayout(diskRepository(folder(fixture), files))
  const spec = findSpec(layout, families, run)
  const parts = await readParts({ layout, spec, options, open: async () => other(), run })
  const networks = await readNetworkHeaders({ sources: parts.sources, options, run })
  return { ...parts, networks, className: spec.className, notes: run.notes }
}

function noOther(): never {
  throw new Error('No other repository is opened')
}

const short = (notes: Awaited<ReturnType<typeof load>>['notes']) =>
  notes.map(({ component, code, values }) => [component, code, values] as const)

test('a checkpoint as diffusers writes it gives no note', async () => {
  for (const fixture of ['tiny-sd15', 'tiny-sdxl', 'tiny-sd3'] as const) expect((await load(fixture, {})).notes).toEqual([])
})

const config = 'diffusion_pytorch_model.safetensors.index.json'

describe('loads, with a note:', () => {
  test.each<readonly [string, Fixture, Files, readonly (readonly [string, string, Readonly<Record<string, string>>])[]]>([
    [
      'keys that the class does not have',
      'tiny-sd15',
      {
        ...edited('tiny-sd15', 'unet/config.json', { gradient_checkpointing: true, off: false, none: null }),
        ...edited('tiny-sd15', 'vae/config.json', { trained_steps: 1000 }),
        ...edited('tiny-sd15', 'text_encoder/config.json', { 'transformers.js_config': { dtype: 'fp16' } }),
      },
      [
        ['text_encoder', 'config-keys', { 'transformers.js_config': '{"dtype":"fp16"}' }],
        ['unet', 'config-keys', { gradient_checkpointing: 'true' }],
        ['vae', 'config-keys', { trained_steps: '1000' }],
      ],
    ],
    [
      'a component that the pipeline does not have',
      'tiny-sd15',
      edited('tiny-sd15', 'model_index.json', {
        my_adapter: ['diffusers', 'Toy'],
        constructor: ['mod', 'Cls'],
        'a-b': ['x', 'Y'],
      }),
      [
        ['', 'component-unknown', { 'a-b': 'ignored' }],
        ['my_adapter', 'component-unknown', { Toy: 'ignored' }],
        ['constructor', 'component-unknown', { Cls: 'ignored' }],
      ],
    ],
    ...(
      [
        ['tiny-sd15', 'StableDiffusion'],
        ['tiny-sdxl', 'StableDiffusionXL'],
        ['tiny-sd3', 'StableDiffusion3'],
        ['tiny-flux', 'Flux'],
        ['tiny-chroma', 'Chroma'],
        ['tiny-z-image', 'ZImage'],
        ['tiny-flux2-klein', 'Flux2Klein', ['Inpaint']],
      ] as const
    ).flatMap(([fixture, name, tasks = ['Img2Img', 'Inpaint']]) =>
      tasks.map(
        (task) =>
          [
            `${name}${task}Pipeline`,
            fixture,
            edited(fixture, 'model_index.json', { _class_name: `${name}${task}Pipeline` }),
            [['', 'class-replaced', { [`${name}${task}Pipeline`]: `${name}Pipeline` }]],
          ] as const,
      ),
    ),
    [
      'an index with a tensor that no shard has',
      'tiny-sd15',
      {
        [`unet/${config}`]: JSON.stringify({
          ...json('tiny-sd15', `unet/${config}`),
          weight_map: {
            ...(json('tiny-sd15', `unet/${config}`)['weight_map'] as object),
            ghost: 'diffusion_pytorch_model-00001-of-00003.safetensors',
          },
        }),
      },
      [['unet', 'index-mismatch', { ghost: 'listed in diffusion_pytorch_model-00001-of-00003.safetensors, and in no shard' }]],
    ],
    [
      'a scheduler config with keys of no scheduler',
      'tiny-sd15',
      edited('tiny-sd15', 'scheduler/scheduler_config.json', { made_up: [1, 2] }),
      [['scheduler', 'config-keys', { made_up: '[1,2]' }]],
    ],
    [
      'values of networks that have no effect beside the rest of the config',
      'tiny-sd15',
      {
        ...edited('tiny-sd15', 'unet/config.json', {
          resnet_out_scale_factor: 2,
          cross_attention_norm: 'layer_norm',
          projection_class_embeddings_input_dim: 2816,
          class_embed_type: 'none',
        }),
        ...edited('tiny-sd15', 'vae/config.json', { shift_factor: 0.1, latents_mean: [] }),
        ...edited('tiny-sd15', 'text_encoder/config.json', { attention_dropout: 0.5, projection_dim: 'x' }),
      },
      [
        ['text_encoder', 'config-values', { attention_dropout: '0.5', projection_dim: '"x"' }],
        ['vae', 'config-values', { shift_factor: '0.1' }],
        [
          'unet',
          'config-values',
          {
            resnet_out_scale_factor: '2',
            cross_attention_norm: '"layer_norm"',
            projection_class_embeddings_input_dim: '2816',
            class_embed_type: '"none"',
          },
        ],
      ],
    ],
    [
      'values of a transformer and of Qwen3 that no code reads',
      'tiny-z-image',
      {
        ...edited('tiny-z-image', 'transformer/config.json', { n_kv_heads: 77, siglip_feat_dim: 8 }),
        ...edited('tiny-z-image', 'text_encoder/config.json', { partial_rotary_factor: 0.5, sliding_window: 7 }),
      },
      [
        ['transformer', 'config-values', { n_kv_heads: '77', siglip_feat_dim: '8' }],
        ['text_encoder', 'config-values', { partial_rotary_factor: '0.5', sliding_window: '7' }],
      ],
    ],
    [
      'an activation of T5 that two other keys override, its decoder, statistics of latents, and layers that do not exist',
      'tiny-sd3',
      {
        ...edited('tiny-sd3', 'text_encoder_3/config.json', {
          feed_forward_proj: 'relu',
          dense_act_fn: 'gelu_new',
          is_gated_act: true,
          num_decoder_layers: 9,
        }),
        ...edited('tiny-sd3', 'vae/config.json', { shift_factor: 0.5, latents_std: 2 }),
        ...edited('tiny-sd3', 'transformer/config.json', { dual_attention_layers: [77] }),
      },
      [
        ['text_encoder_3', 'config-values', { feed_forward_proj: '"relu"', num_decoder_layers: '9' }],
        ['vae', 'config-values', { latents_std: '2' }],
        ['transformer', 'config-values', { dual_attention_layers: '[77]' }],
      ],
    ],
    [
      'depth and heads of a block without attention',
      'tiny-sdxl',
      edited('tiny-sdxl', 'unet/config.json', { transformer_layers_per_block: [0, 1, 2], attention_head_dim: [0, 2, 4] }),
      [['unet', 'config-values', { transformer_layers_per_block: '[0,1,2]', attention_head_dim: '[0,2,4]' }]],
    ],
    ...(
      [
        ['DPMSolverMultistepScheduler', { variance_type: 'fixed_small', flow_shift: 'x' }, ['variance_type', 'flow_shift']],
        ['UniPCMultistepScheduler', { time_shift_type: 'x', flow_shift: 3 }, ['time_shift_type', 'flow_shift']],
        [
          'DDPMScheduler',
          { variance_type: 'x', clip_sample: false, clip_sample_range: 'x' },
          ['variance_type', 'clip_sample_range'],
        ],
        ['TCDScheduler', { timestep_scaling: 5, clip_sample: true }, ['timestep_scaling', 'clip_sample']],
        ['LCMScheduler', { timestep_spacing: 'trailing', steps_offset: 'x' }, ['timestep_spacing', 'steps_offset']],
        ['EulerDiscreteScheduler', { timestep_type: 'x' }, ['timestep_type']],
        ['FlowMatchEulerDiscreteScheduler', { use_dynamic_shifting: false, max_shift: 'x' }, ['max_shift']],
        [
          'DEISMultistepScheduler',
          { sample_max_value: 2, dynamic_thresholding_ratio: [] },
          ['sample_max_value', 'dynamic_thresholding_ratio'],
        ],
      ] as const
    ).map(
      ([className, values, unused]) =>
        [
          `values that ${className} does not read`,
          'tiny-sd15',
          {
            'scheduler/scheduler_config.json': JSON.stringify(values),
            ...edited('tiny-sd15', 'model_index.json', { scheduler: ['diffusers', className] }),
          },
          [
            [
              'scheduler',
              'config-values',
              Object.fromEntries(unused.map((key) => [key, JSON.stringify((values as Readonly<Record<string, unknown>>)[key])])),
            ],
          ],
        ] as const,
    ),
  ])('%s', async (_, fixture, files, notes) => {
    const loaded = await load(fixture, files)
    expect(short(loaded.notes)).toHaveLength(notes.length)
    expect(short(loaded.notes)).toEqual(expect.arrayContaining([...notes]))
    for (const note of loaded.notes) expect(note.message).toMatch(/^\S.*\.$/)
  })

  test('a whole CLIPModel in place of a text encoder, with its tokenizer', async () => {
    const own = json('tiny-sd15', 'text_encoder/config.json')
    const whole = { architectures: ['CLIPModel'], model_type: 'clip', text_config: own, vision_config: { hidden_size: 1 } }
    const root = `${folder('tiny-sd15')}/text_encoder`
    const other = () =>
      diskRepository(root, {
        'config.json': JSON.stringify(whole),
        'tokenizer_config.json': readFileSync(`${folder('tiny-sd15')}/tokenizer/tokenizer_config.json`, 'utf8'),
        'vocab.json': readFileSync(`${folder('tiny-sd15')}/tokenizer/vocab.json`, 'utf8'),
        'merges.txt': readFileSync(`${folder('tiny-sd15')}/tokenizer/merges.txt`, 'utf8'),
      })
    const [expected, swapped] = [
      await load('tiny-sd15', {}),
      await load('tiny-sd15', {}, { components: { text_encoder: 'me/clip', tokenizer: 'me/clip' } }, other),
    ]
    expect(short(swapped.notes)).toEqual([['text_encoder', 'class-replaced', { CLIPModel: 'CLIPTextModel' }]])
    const modelOf = ({ networks }: typeof swapped) => networks.get('text_encoder')?.model.config
    expect(modelOf(swapped)).toEqual(modelOf(expected))
    const text = 'a photo of a cat'
    expect(swapped.tokenizers.get('tokenizer')?.encode(text)).toEqual(expected.tokenizers.get('tokenizer')?.encode(text))
  })

  test.each(['T5ForConditionalGeneration', 'T5Model', 'T5WithLMHeadModel'])('a %s in place of its encoder', async (name) => {
    const own = json('tiny-sd3', 'text_encoder_3/config.json')
    const other = () =>
      diskRepository(`${folder('tiny-sd3')}/text_encoder_3`, { 'config.json': JSON.stringify({ ...own, architectures: [name] }) })
    const { notes } = await load('tiny-sd3', {}, { components: { text_encoder_3: 'me/t5' } }, other)
    expect(short(notes)).toEqual([['text_encoder_3', 'class-replaced', { [name]: 'T5EncoderModel' }]])
  })

  test('the words of added_tokens.json are one token each', async () => {
    const size = Object.keys(json('tiny-sd15', 'tokenizer/vocab.json')).length
    const files = { 'tokenizer/added_tokens.json': JSON.stringify({ '<cat-toy>': size, '<B>': size + 1 }) }
    const tokenizer = (await load('tiny-sd15', files)).tokenizers.get('tokenizer')
    // As in transformers 5, added words have ids after the vocabulary and are found also in lower case.
    expect(tokenizer?.encode('<b> <cat-toy>').slice(1, -1)).toEqual([size + 1, size])
  })
})

describe('is refused by name:', () => {
  test.each<readonly [string, Files, object]>([
    [
      'a pipeline with code of its own',
      edited('tiny-sd15', 'model_index.json', { _class_name: ['pipeline', 'StableDiffusionPipeline'] }),
      { code: 'unsupported-class', details: { component: 'pipeline' } },
    ],
    [
      'a component with code of its own, although its class is called like one of diffusers',
      edited('tiny-sd15', 'model_index.json', { unet: ['my_unet', 'UNet2DConditionModel'] }),
      { code: 'unsupported-class', details: { component: 'unet', library: 'my_unet' } },
    ],
    [
      'a pipeline that makes other images of the same components',
      edited('tiny-sd15', 'model_index.json', { _class_name: 'StableDiffusionPAGPipeline' }),
      { code: 'unsupported-class', details: { className: 'StableDiffusionPAGPipeline' } },
    ],
    [
      'weights that another tool has quantized',
      edited('tiny-sd15', 'unet/config.json', { quantization_config: { quant_method: 'bitsandbytes' } }),
      { code: 'unsupported-config', details: { key: 'quantization_config' } },
    ],
    [
      'a known key with a value that changes the image',
      edited('tiny-sd15', 'unet/config.json', { class_embed_type: 'timestep' }),
      { code: 'unsupported-config', details: { key: 'class_embed_type' } },
    ],
  ])('%s', async (_, files, error) => {
    await expect(load('tiny-sd15', files)).rejects.toMatchObject(error)
  })

  // diffusers 0.42 loads each of these checkpoints, and fails in the first step with an error about shapes.
  test.each<readonly [string, Fixture, string, Readonly<Record<string, number | string | null>>, string, string, string]>([
    ['a UNet for inpainting', 'tiny-sd15', 'unet', { in_channels: 9 }, 'in_channels', '9', '4'],
    ['a UNet for inpainting', 'tiny-sdxl', 'unet', { in_channels: 9 }, 'in_channels', '9', '4'],
    ['a UNet for InstructPix2Pix', 'tiny-sd15', 'unet', { in_channels: 8 }, 'in_channels', '8', '4'],
    ['a UNet of other latents', 'tiny-sd15', 'unet', { in_channels: 5, out_channels: 5 }, 'in_channels', '5', '4'],
    ['a UNet with two predictions', 'tiny-sd15', 'unet', { out_channels: 8 }, 'out_channels', '8', '4'],
    ['a UNet of another text encoder', 'tiny-sd15', 'unet', { cross_attention_dim: 40 }, 'cross_attention_dim', '40', '32'],
    [
      "a refiner's UNet beside both text encoders",
      'tiny-sdxl',
      'unet',
      { cross_attention_dim: 48 },
      'cross_attention_dim',
      '48',
      '80',
    ],
    [
      "a refiner's UNet with five time ids",
      'tiny-sdxl',
      'unet',
      { projection_class_embeddings_input_dim: 72 },
      'projection_class_embeddings_input_dim',
      '72',
      '80',
    ],
    [
      'a UNet of SDXL without its sizes',
      'tiny-sdxl',
      'unet',
      { addition_embed_type: null },
      'addition_embed_type',
      'null',
      '"text_time"',
    ],
    ['a transformer of other latents', 'tiny-sd3', 'transformer', { in_channels: 8 }, 'in_channels', '8', '16'],
    ['a transformer of another T5', 'tiny-sd3', 'transformer', { joint_attention_dim: 40 }, 'joint_attention_dim', '40', '64'],
    [
      'a transformer of other CLIPs',
      'tiny-sd3',
      'transformer',
      { pooled_projection_dim: 48 },
      'pooled_projection_dim',
      '48',
      '40',
    ],
  ])('%s in %s, before any weight file is opened', async (_, fixture, component, keys, key, value, allowed) => {
    const opened: string[] = []
    const own = diskRepository(folder(fixture), edited(fixture, `${component}/config.json`, keys))
    const layout = await openLayout({
      ...own,
      open: (path, options) => {
        opened.push(path)
        return own.open(path, options)
      },
    })
    const run = new Run({})
    const request = { layout, spec: findSpec(layout, families, run), options: {}, open: () => Promise.reject(new Error()), run }
    const error = { code: 'unsupported-config', details: { key, value, allowed: [allowed] } }
    await expect(readParts(request)).rejects.toMatchObject(error)
    expect(opened).toContain(`${component}/config.json`)
    expect(opened.filter((path) => path.endsWith('.safetensors'))).toEqual([])
    const faults = new Map<string, unknown>()
    const parts = await readPartsWithFaults(request, (name, fault) => faults.set(name, fault))
    expect([...faults.keys()]).toEqual([component])
    expect(parts.sources).toHaveLength(Object.keys(request.spec.networks).length)
  })

  test('but not an SDXL without its first text encoder whose UNet takes the second one alone', async () => {
    const files = {
      ...edited('tiny-sdxl', 'model_index.json', { text_encoder: [null, null], tokenizer: [null, null] }),
      ...edited('tiny-sdxl', 'unet/config.json', { cross_attention_dim: 48 }),
    }
    const layout = await openLayout(diskRepository(folder('tiny-sdxl'), files))
    const run = new Run({})
    const request = { layout, spec: findSpec(layout, families, run), options: {}, open: () => Promise.reject(new Error()), run }
    expect((await readParts(request)).sources.map(({ name }) => name)).toEqual(['text_encoder_2', 'unet', 'vae'])
  })

  test('a model with a class of its own in place of a component', async () => {
    const own = json('tiny-sd3', 'text_encoder_3/config.json')
    const other = () =>
      diskRepository(`${folder('tiny-sd3')}/text_encoder_3`, {
        'config.json': JSON.stringify({ ...own, architectures: ['MyT5'] }),
      })
    await expect(load('tiny-sd3', {}, { components: { text_encoder_3: 'me/t5' } }, other)).rejects.toMatchObject({
      code: 'unsupported-class',
      details: { className: 'MyT5' },
    })
  })
})
