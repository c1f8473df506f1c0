/** What loading, weighting and removing LoRAs changes in a pipeline, apart from the images that it generates. */

import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { loadPipeline, type LoadedPipeline } from './diffusion-pipeline.js'
import { loraFile, loraOf } from './testing-lora.node.js'
import { diskRepository, fixtures } from './testing.node.js'
import type { FuseLoraOptions } from './adapter-types.js'
import type { PipelineProgress } from './types.js'

let pipeline: LoadedPipeline
beforeAll(async () => {
  pipeline = await loadPipeline(diskRepository(join(fixtures, 'few-steps/lcm/repo')), { device: 'wasm' })
})
afterAll(() => pipeline.dispose())

const events: PipelineProgress[] = []

async function pixels(): Promise<Uint8ClampedArray> {
  events.length = 0
  const { images } = await pipeline.generate('a dog', {
    numInferenceSteps: 1,
    width: 16,
    height: 16,
    seed: 1,
    onProgress: (event) => events.push(event),
  })
  return images[0]?.data ?? new Uint8ClampedArray()
}

/** The events of the last run that report a load of weights. */
function loadsOf(component: string): readonly PipelineProgress[] {
  return events.filter((event) => event.type === 'weights' && event.component === component)
}

/** The warnings of the last run. */
function warnings(): readonly string[] {
  return events.flatMap((event) => (event.type === 'warning' ? event.message : []))
}

/** Bytes of the UNet's weights after a run. */
async function unetBytes(): Promise<number> {
  await pixels()
  const memory = events.findLast((event) => event.type === 'memory')
  return memory?.memory.components['unet']?.weights ?? 0
}

/** A LoRA for the first cross-attention of the fixture's UNet. `width`: the width of its prompt embeddings, 16 for this UNet. */
function lora(
  name: string,
  { width = 16, more = {} }: { width?: number; more?: Readonly<Record<string, readonly number[]>> } = {},
) {
  const layer = 'unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k'
  const shapes = { [`${layer}.lora_A.weight`]: [2, width], [`${layer}.lora_B.weight`]: [16, 2], ...more }
  return loraOf(shapes, `${name}.safetensors`)
}

test('a LoRA changes images, its weight costs no load, and its removal gives the first image again', async () => {
  const plain = await pixels()
  const [info] = await pipeline.adapters({ type: 'load', source: lora('a'), options: { adapterName: 'a', scale: 0.5 } })
  expect(info).toMatchObject({ adapterName: 'a', file: 'a.safetensors', components: ['unet'], layers: 1, rank: 2, active: true })
  const half = await pixels()
  expect(half).not.toEqual(plain)
  await pipeline.adapters({ type: 'set', names: ['a'], weights: 1 })
  const whole = await pixels()
  expect(whole).not.toEqual(half)
  expect(loadsOf('unet')).toEqual([])
  await pipeline.adapters({ type: 'set', names: ['a'], weights: 0 })
  expect(await pixels()).toEqual(plain)
  expect(await pipeline.adapters({ type: 'set', names: [] })).toMatchObject([{ adapterName: 'a', active: false }])
  expect(await pixels()).toEqual(plain)
  // Without an active LoRA, another graph runs, so the weights are loaded again. This shows that the check above, which expects no load,
  // can fail.
  expect(loadsOf('unet')).not.toEqual([])
  expect(await pipeline.adapters({ type: 'delete' })).toEqual([])
  expect(await pixels()).toEqual(plain)
})

test('a fused LoRA is in the weights until it is unfused, removed or given another weight', async () => {
  const plain = await pixels()
  const fuse = (options: FuseLoraOptions = {}) => pipeline.adapters({ type: 'fuse', options })
  await pipeline.adapters({ type: 'load', source: lora('a'), options: { adapterName: 'a' } })
  const whole = await pixels()
  expect(await fuse({ loraScale: 0.5 })).toMatchObject([{ weight: 0.5, active: true, fusedInto: ['unet'] }])
  const half = await pixels()
  expect(half).not.toEqual(whole)
  expect(loadsOf('unet')).not.toEqual([])
  // As in diffusers, the LoRA keeps `loraScale` in its weight after it is unfused.
  expect(await pipeline.adapters({ type: 'unfuse' })).toMatchObject([{ weight: 0.5, active: true, fusedInto: [] }])
  expect(await pixels()).toEqual(half)
  // Fusing a second time changes nothing, and setting the same weight does not end the fusion.
  await fuse()
  await fuse()
  await pipeline.adapters({ type: 'set', names: ['a'], weights: 0.5 })
  expect(await pixels()).toEqual(half)
  expect(warnings()).toEqual([])
  expect(await pipeline.adapters({ type: 'set', names: ['a'] })).toMatchObject([{ weight: 1, fusedInto: [] }])
  expect(await pixels()).toEqual(whole)
  expect(warnings()).toEqual([expect.stringContaining('LoRA a is no longer fused') as string])
  // Another LoRA runs beside the weights that the first one is fused into.
  await fuse()
  await pipeline.adapters({ type: 'load', source: lora('b'), options: { adapterName: 'b' } })
  expect(await pipeline.adapters({ type: 'set', names: ['a', 'b'] })).toMatchObject([
    { active: true, fusedInto: ['unet'] },
    { active: true, fusedInto: [] },
  ])
  const both = await pixels()
  expect(both).not.toEqual(whole)
  await pipeline.adapters({ type: 'unfuse', options: { components: ['unet'] } })
  expect(await pixels()).toEqual(both)
  // Only the named LoRA is fused, into the named component only.
  expect(await fuse({ adapterNames: ['b', 'b'], components: ['unet', 'unet'] })).toMatchObject([
    { fusedInto: [] },
    { fusedInto: ['unet'] },
  ])
  expect(await pixels()).toEqual(both)
  await fuse()
  await pipeline.adapters({ type: 'delete' })
  expect(await pixels()).toEqual(plain)
  expect(warnings()).toHaveLength(2)
  expect(await pixels()).toEqual(plain)
  expect(warnings()).toEqual([])
})

// The default of `components` in fuse_lora of diffusers' FluxLoraLoaderMixin.
test('for FLUX.1, a LoRA of the transformer and the text encoder is fused into the transformer alone, unless both are named', async () => {
  const flux = await loadPipeline(diskRepository(join(fixtures, 'tiny-flux', 'repo')), { device: 'wasm' })
  try {
    await flux.adapters({ type: 'load', source: loraFile('flux-alphas') }, {})
    const fuse = (options: FuseLoraOptions) => flux.adapters({ type: 'fuse', options }, {})
    expect(await fuse({ loraScale: 0.5 })).toMatchObject([{ fusedInto: ['transformer'] }])
    expect(await fuse({ components: ['text_encoder'] })).toMatchObject([{ fusedInto: ['text_encoder', 'transformer'] }])
  } finally {
    await flux.dispose()
  }
})

test('what cannot be fused is refused before anything changes', async () => {
  const refused = (options: FuseLoraOptions) => expect(pipeline.adapters({ type: 'fuse', options })).rejects
  await pipeline.adapters({ type: 'load', source: lora('a'), options: { adapterName: 'a' } })
  await pipeline.adapters({ type: 'load', source: lora('b'), options: { adapterName: 'b' } })
  const before = await pixels()
  await refused({ adapterNames: ['b', 'c'] }).toMatchObject({ code: 'adapter-name', details: { loaded: ['a', 'b'] } })
  await refused({ loraScale: Number.NaN }).toMatchObject({ code: 'adapter-weights' })
  // diffusers would ignore the scale without a warning.
  await refused({ adapterNames: ['b', 'a'], loraScale: 2 }).toMatchObject({
    code: 'adapter-weights',
    details: { adapterName: 'a' },
  })
  for (const components of [[], ['vae'], ['unet', 'text_encoder_2']])
    await refused({ components }).toMatchObject({ code: 'components', details: { allowed: ['unet', 'text_encoder'] } })
  await expect(pipeline.adapters({ type: 'unfuse', options: { components: [] } })).rejects.toMatchObject({ code: 'components' })
  expect(await pixels()).toEqual(before)
  expect(loadsOf('unet')).toEqual([])
  await pipeline.adapters({ type: 'delete' })
})

test('the newest LoRA is the active one, and names are unique', async () => {
  const load = (name: string, adapterName?: string) =>
    pipeline.adapters({ type: 'load', source: lora(name), options: adapterName === undefined ? {} : { adapterName } })
  await load('a')
  expect(await load('b')).toMatchObject([
    { adapterName: 'default_0', active: false },
    { adapterName: 'default_1', active: true },
  ])
  await expect(load('c', 'default_1')).rejects.toMatchObject({ code: 'adapter-name' })
  await expect(pipeline.adapters({ type: 'set', names: ['c'] })).rejects.toMatchObject({ code: 'adapter-name' })
  await expect(pipeline.adapters({ type: 'set', names: ['default_0'], weights: [1, 2] })).rejects.toMatchObject({
    code: 'adapter-weights',
  })
  await load('c', 'c')
  // As in peft, the first of the remaining LoRAs becomes active.
  expect(await pipeline.adapters({ type: 'delete', names: ['c'] })).toMatchObject([{ active: true }, { active: false }])
  await pipeline.adapters({ type: 'set', names: ['default_1'] })
  expect(await pipeline.adapters({ type: 'delete', names: ['default_0'] })).toMatchObject([
    { adapterName: 'default_1', active: true },
  ])
  await pipeline.adapters({ type: 'delete' })
  await pixels()
  expect(warnings()).toEqual([])
})

test('a file for another pipeline is refused by its first tensor, and leaves the pipeline as it was', async () => {
  const plain = await pixels()
  const refused = (source: ReturnType<typeof lora>) => expect(pipeline.adapters({ type: 'load', source })).rejects
  await refused(lora('xl', { width: 2048 })).toMatchObject({
    code: 'lora-mismatch',
    message: expect.stringContaining('It looks like a LoRA for Stable Diffusion XL.') as string,
    details: { actual: [2, 2048], expected: [2, 16] },
  })
  const flux = 'transformer.single_transformer_blocks.0.attn.to_q'
  await refused(loraOf({ [`${flux}.lora_A.weight`]: [2, 16], [`${flux}.lora_B.weight`]: [16, 2] })).toMatchObject({
    code: 'lora-mismatch',
    details: { tensor: `${flux}.lora_A.weight`, looksLike: 'FLUX' },
  })
  await refused(loraOf({ 'conv_in.weight': [2, 2] })).toMatchObject({ code: 'not-a-lora' })
  const pickle = new File([new Uint8Array(8)], 'word.pt')
  for (const type of ['load', 'load-embedding'] as const)
    await expect(pipeline.adapters({ type, source: pickle })).rejects.toMatchObject({ code: 'pickle-weights' })
  await refused(loraOf({ [`${flux}.lora_A.weight`]: [2, 16] })).toMatchObject({ code: 'not-a-lora' })
  await refused(loraOf({ [`${flux}.lora_A.weight`]: [2, 16], [`${flux}.lora_B.weight`]: [16, 3] })).toMatchObject({
    code: 'shape-mismatch',
  })
  expect(await pipeline.adapters({ type: 'set', names: [] })).toEqual([])
  expect(await pixels()).toEqual(plain)
})

const own = 'down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_k'

test.each([
  ['Tucker decomposition', `lora_unet_${own}.lora_mid.weight`],
  ['Tucker decomposition', `lora_unet_${own}.hada_t1`],
  ['OFT or BOFT', `lora_unet_${own}.oft_blocks`],
  ['(IA)³', `lora_unet_${own}.weight`],
  ['changes of whole weights', `lora_unet_${own}.diff`],
  ['changes of biases and norms', `lora_unet_${own}.diff_b`],
  ['changes of biases and norms', `lora_unet_${own}.w_norm`],
  ['a LoRA with biases of its first factors', `unet.${own}.lora_A.bias`],
])('%s is refused by name: %s', async (method, tensor) => {
  const branch = { [`lora_unet_${own}.lora_down.weight`]: [2, 16], [`lora_unet_${own}.lora_up.weight`]: [16, 2] }
  const source = loraOf({ ...branch, [tensor]: [16] })
  await expect(pipeline.adapters({ type: 'load', source })).rejects.toMatchObject({
    code: 'lora-method',
    message: expect.stringContaining(method) as string,
    details: { tensor, method },
  })
})

test('LoRA layers with missing or misshapen tensors are refused by name, and so is a weight that is not a number', async () => {
  const refused = (shapes: Parameters<typeof loraOf>[0]) =>
    expect(pipeline.adapters({ type: 'load', source: loraOf(shapes) })).rejects
  const layer = 'unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_k'
  await refused({ [`${layer}.hada_w1_a`]: [16, 2] }).toMatchObject({ code: 'not-a-lora', details: { missing: 'hada_w1_b' } })
  const hada = { [`${layer}.hada_w1_a`]: [16, 2], [`${layer}.hada_w1_b`]: [2, 16], [`${layer}.hada_w2_a`]: [16, 2] }
  await refused({ ...hada, [`${layer}.hada_w2_b`]: [2, 8] }).toMatchObject({ code: 'shape-mismatch' })
  await refused({ [`${layer}.lokr_w1`]: [4, 4] }).toMatchObject({ code: 'not-a-lora', details: { missing: 'lokr_w2' } })
  await refused({ [`${layer}.lokr_w1`]: [4, 4], [`${layer}.lokr_w2`]: [4, 8] }).toMatchObject({
    code: 'lora-mismatch',
    details: { expected: [16, 16] },
  })
  const low = { [`${layer}.lora_A.weight`]: [2, 16], [`${layer}.lora_B.weight`]: [16, 2] }
  await refused({ ...low, [`${layer}.lora_magnitude_vector`]: [8] }).toMatchObject({ code: 'shape-mismatch' })
  await refused({ ...low, [`${layer}.lora_B.bias`]: [8] }).toMatchObject({ code: 'shape-mismatch' })
  const both = { [`${layer}.lora_magnitude_vector`]: [16], [`${layer}.lora_B.bias`]: [16] }
  await refused({ ...low, ...both }).toMatchObject({ code: 'lora-method', details: { method: 'DoRA with biases' } })
  await expect(pipeline.adapters({ type: 'load', source: loraOf(low), options: { scale: Number.NaN } })).rejects.toMatchObject({
    code: 'adapter-weights',
  })
  expect(await pipeline.adapters({ type: 'set', names: [] })).toEqual([])
})

test('quantized weights take LoKr, but no fusion, and no DoRA, which needs the norms of the original weights', async () => {
  const quantized = await loadPipeline(diskRepository(join(fixtures, 'few-steps/lcm/repo')), {
    device: 'wasm',
    dtype: { unet: 'q8' },
  })
  const layer = 'unet.down_blocks.0.attentions.0.transformer_blocks.0.ff.net.2'
  const low = { [`${layer}.lora_A.weight`]: [2, 64], [`${layer}.lora_B.weight`]: [16, 2] }
  const dora = loraOf({ ...low, [`${layer}.lora_magnitude_vector`]: [16] })
  await expect(quantized.adapters({ type: 'load', source: dora })).rejects.toMatchObject({
    code: 'lora-method',
    details: { layer: layer.replace('unet.', '') },
  })
  const lokr = loraOf({ [`${layer}.lokr_w1`]: [4, 8], [`${layer}.lokr_w2`]: [4, 8] })
  expect(await quantized.adapters({ type: 'load', source: lokr })).toMatchObject([{ layers: 1, active: true }])
  await expect(quantized.adapters({ type: 'fuse' })).rejects.toMatchObject({
    code: 'lora-fuse',
    details: { component: 'unet', layer: layer.replace('unet.', '') },
  })
  expect(await quantized.adapters({ type: 'fuse', options: { components: ['text_encoder'] } })).toMatchObject([
    { active: true, fusedInto: [] },
  ])
  await quantized.dispose()
})

test('layers that the pipeline does not have are ignored with a warning, where others fit', async () => {
  const warnings: string[] = []
  const more = { 'lora_te2_text_projection.lora_down.weight': [1, 8], 'lora_te2_text_projection.lora_up.weight': [8, 1] }
  await pipeline.adapters(
    { type: 'load', source: lora('a', { more }) },
    { onProgress: (event) => (event.type === 'warning' ? warnings.push(event.code) : 0) },
  )
  expect(warnings).toEqual(['lora-ignored'])
  await pipeline.adapters({ type: 'delete' })
})

test('the memory plan counts the factors', async () => {
  const plain = await unetBytes()
  await pipeline.adapters({ type: 'load', source: lora('a') })
  expect((await unetBytes()) - plain).toBe(4 * (2 * 16 + 16 * 2))
  await pipeline.adapters({ type: 'delete' })
  // The network's own weights fill this budget, so the LoRA's factors do not fit. The generation is refused before anything runs.
  const tight = await loadPipeline(diskRepository(join(fixtures, 'few-steps/lcm/repo')), {
    device: 'wasm',
    offload: 'model',
    maxMemory: { wasm: plain },
  })
  const make = () => tight.generate('a dog', { numInferenceSteps: 1, width: 16, height: 16 })
  await make()
  await tight.adapters({ type: 'load', source: lora('a') })
  await expect(make()).rejects.toMatchObject({ code: 'does-not-fit', details: { needed: plain + 256, offered: plain } })
  await tight.adapters({ type: 'delete' })
  await make()
  await tight.dispose()
})

/** The warnings of loading a file of fixtures/lora-forms, by code, with their messages. */
async function warningsOf(fixture: string, source: ReturnType<typeof lora>): Promise<readonly (readonly [string, string])[]> {
  const other = await loadPipeline(diskRepository(join(fixtures, fixture, 'repo')), { device: 'wasm' })
  const warnings: (readonly [string, string])[] = []
  try {
    await other.adapters(
      { type: 'load', source },
      { onProgress: (event) => (event.type === 'warning' ? warnings.push([event.code, event.message]) : 0) },
    )
  } finally {
    await other.dispose()
  }
  return warnings
}

test.each([
  ['tiny-flux', 'flux-kohya', 'lora-ignored', 'lora_unet_final_layer_adaLN_modulation_1.lora_down.weight'],
  ['tiny-sdxl', 'twice', 'lora-ignored', 'lora_unet_add_embedding_linear_1.lora_down.weight'],
  ['tiny-sdxl', 'alphas', 'lora-alpha', 'lora_te1_text_model_encoder_layers_0_mlp_fc1.alpha'],
  ['tiny-sd15', 'dora', 'lora-dora', 'text_encoder.encoder.layers.0.mlp.fc2.lora_magnitude_vector'],
])('%s, %s: what diffusers leaves out is left out with a warning that names it (%s)', async (fixture, file, code, tensor) => {
  expect(await warningsOf(fixture, loraFile(file))).toContainEqual([code, expect.stringContaining(tensor) as string])
})

test('a file from which diffusers reads nothing is refused with the name of its first tensor', async () => {
  const name = 'lora_unet_joint_blocks_0_x_block_attn_proj'
  const shapes = { [`${name}.lora_down.weight`]: [2, 32], [`${name}.lora_up.weight`]: [32, 2] }
  await expect(warningsOf('tiny-sd3', loraOf(shapes))).rejects.toMatchObject({
    code: 'lora-mismatch',
    message: expect.stringContaining('diffusers does not read a LoRA for it') as string,
    details: { tensor: `${name}.lora_down.weight` },
  })
  const flux = 'diffusion_model.double_blocks.0.img_attn.proj'
  const comfy = { [`${flux}.lora_A.weight`]: [2, 32], [`${flux}.lora_B.weight`]: [32, 2] }
  await expect(warningsOf('tiny-flux', loraOf(comfy))).rejects.toMatchObject({ code: 'lora-mismatch' })
})

test('trigger words come from the metadata', async () => {
  const xl = await loadPipeline(diskRepository(join(fixtures, 'tiny-sd15', 'repo')), { device: 'wasm' })
  expect(await xl.adapters({ type: 'load', source: loraFile('kohya') })).toMatchObject([{ triggerWords: ['tiny dog'] }])
  await xl.dispose()
})
