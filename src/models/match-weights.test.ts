/** Matching graphs with a table whose tensors are missing, have a wrong shape or type, are used twice, unused or unknown, or have older names. */

import { expect, test } from 'vitest'
import type { TensorEntry } from '../checkpoint/types.js'
import { CheckpointError } from '../errors.js'
import type { WriteOptions } from '../onnx/types.js'
import { AutoencoderKL } from './autoencoders/autoencoder-kl.js'
import { CLIPTextModel } from './text-encoders/clip-text-model.js'
import { matchWeights, quantizedWeights } from './match-weights.js'
import { fixtures, readJson, readWeights } from './testing.node.js'
import { graphFor } from './testing.js'
import { UNet2DConditionModel } from './unets/unet-2d-condition.js'

const options: WriteOptions = { dtype: 'float32', weights: 'input', granularity: 'block' }
const size = { batch: 1, height: 8, width: 8, sequenceLength: 7 }

const unetTable = () => new Map<string, TensorEntry>(readWeights(`${fixtures}tiny-sdxl/repo/unet`))
const unetGraph = (changes: Partial<WriteOptions> = {}) =>
  graphFor(UNet2DConditionModel, readJson(`${fixtures}tiny-sdxl/repo/unet/config.json`), size, { ...options, ...changes })

function refusal(table: ReadonlyMap<string, TensorEntry>, changes: Partial<WriteOptions> = {}): CheckpointError {
  try {
    matchWeights(UNet2DConditionModel, [unetGraph(changes)], table)
  } catch (error) {
    if (error instanceof CheckpointError) return error
    throw error
  }
  throw new Error('Nothing was refused')
}

function change(name: string, changes: Partial<TensorEntry>): Map<string, TensorEntry> {
  const table = unetTable()
  table.set(name, { ...table.get(name)!, ...changes })
  return table
}

test('the error for a missing tensor names it', () => {
  const table = unetTable()
  table.delete('mid_block.resnets.0.conv1.bias')
  expect(refusal(table)).toMatchObject({
    code: 'tensor-missing',
    details: { tensor: 'mid_block.resnets.0.conv1.bias', expected: [32] },
  })
})

test('the error for a wrong shape has the expected shape, as a checkpoint stores it', () => {
  expect(refusal(change('conv_in.weight', { shape: [16, 5, 3, 3] }))).toMatchObject({
    code: 'shape-mismatch',
    details: { tensor: 'conv_in.weight', expected: [16, 4, 3, 3], actual: [16, 5, 3, 3] },
  })
  expect(refusal(change('conv_norm_out.weight', { shape: [8] }))).toMatchObject({
    code: 'shape-mismatch',
    details: { tensor: 'conv_norm_out.weight', expected: [16], actual: [8] },
  })
  // The same number of elements in another shape.
  expect(refusal(change('conv_in.weight', { shape: [16, 3, 4, 3] })).code).toBe('shape-mismatch')
})

test('integers in place of floats are refused', () => {
  expect(refusal(change('conv_in.bias', { dtype: 'I64' }))).toMatchObject({ code: 'dtype-mismatch', details: { actual: 'I64' } })
})

test('dimensions of 1 at the end do not matter', () => {
  const { shape } = unetTable().get('mid_block.attentions.0.proj_in.weight')!
  const table = change('mid_block.attentions.0.proj_in.weight', { shape: [...shape, 1, 1] })
  expect(matchWeights(UNet2DConditionModel, [unetGraph()], table).unexpected).toEqual([])
})

test('a tensor that is no parameter is reported as unexpected, and is no error', () => {
  const table = unetTable()
  table.set('model_ema.decay', { ...table.get('conv_in.bias')!, name: 'model_ema.decay' })
  expect(matchWeights(UNet2DConditionModel, [unetGraph()], table)).toMatchObject({
    unexpected: ['model_ema.decay'],
    unused: [],
  })
})

test('every tensor of the table is used once, with either granularity', () => {
  const table = unetTable()
  for (const granularity of ['component', 'block'] as const) {
    const { graphs } = matchWeights(UNet2DConditionModel, [unetGraph({ granularity })], table)
    const bound = graphs[0]!.stages.flatMap((stage) => Object.values(stage.weights))
    expect(bound.toSorted()).toEqual([...table.keys()].toSorted())
  }
})

test('the tensors of an autoencoder may have their former names, and those of the half without a graph are unused', () => {
  const config = readJson(`${fixtures}tiny-sd15/repo/vae/config.json`)
  const table = readWeights(`${fixtures}tiny-sd15/repo/vae`)
  expect([...table.keys()]).toContain('decoder.mid_block.attentions.0.proj_attn.weight')
  const decoder = graphFor(AutoencoderKL, config, size, options)
  const encoder = graphFor(AutoencoderKL, config, { batch: 1, height: 32, width: 32 }, options, { part: 'encoder' })
  const alone = matchWeights(AutoencoderKL, [decoder], table)
  const attention = alone.graphs[0]!.stages.find(({ name }) => name === 'decoder.mid_block.attentions.0')!
  expect(attention.weights['to_out.0.weight']).toBe('decoder.mid_block.attentions.0.proj_attn.weight')
  expect(alone.unused.length).toBeGreaterThan(20)
  expect(new Set(alone.unused.map(({ reason }) => reason))).toEqual(new Set(['the encoder is not written']))
  expect(matchWeights(AutoencoderKL, [decoder, encoder], table)).toMatchObject({ unused: [], unexpected: [] })

  // A tensor whose name begins with `decoder.` but is no parameter of the decoder is reported as unexpected.
  const stray = new Map<string, TensorEntry>(table)
  stray.set('decoder.extra', { ...table.get('decoder.conv_in.bias')!, name: 'decoder.extra' })
  expect(matchWeights(AutoencoderKL, [decoder], stray).unexpected).toEqual(['decoder.extra'])
})

test('a text encoder’s token embedding and position ids are unused, and its names may lack the prefix', () => {
  for (const [name, prefix] of [
    ['tiny-sd15', 'text_model.'],
    ['tiny-sd21', ''],
  ] as const) {
    const config = readJson(`${fixtures}${name}/repo/text_encoder/config.json`)
    const table = readWeights(`${fixtures}${name}/repo/text_encoder`)
    const { graphs, unused, unexpected } = matchWeights(CLIPTextModel, [graphFor(CLIPTextModel, config, size, options)], table)
    expect(unexpected).toEqual([])
    expect(unused.map((tensor) => tensor.name)).toContain(`${prefix}embeddings.token_embedding.weight`)
    expect(unused.some((tensor) => tensor.name.endsWith('position_ids'))).toBe(name === 'tiny-sd15')
    const names = graphs[0]!.stages.flatMap((stage) => Object.values(stage.weights))
    expect(names.every((tensor) => tensor.startsWith('text_model.') === (prefix !== ''))).toBe(true)
  }
})

test('a tensor that two parameters would use is refused', () => {
  const config = readJson(`${fixtures}tiny-sd15/repo/vae/config.json`)
  const table = readWeights(`${fixtures}tiny-sd15/repo/vae`)
  const graph = graphFor(AutoencoderKL, config, size, options)
  const twice = { ...graph, stages: [...graph.stages, graph.stages[0]!] }
  expect(() => matchWeights(AutoencoderKL, [twice], table)).toThrow(expect.objectContaining({ code: 'tensor-used-twice' }))
})

test('quantized weights are recognized by their scales, and their codes must have the right shape', () => {
  const name = 'mid_block.attentions.0.transformer_blocks.0.ff.net.2.weight'
  const table = unetTable()
  const entry = table.get(name)!
  expect(entry.shape).toEqual([32, 128])
  const codes = { ...entry, dtype: 'U8', shape: [32, 4, 16] } as const
  const scale = { ...entry, name: `${name}_scale`, dtype: 'F16', shape: [32, 4] } as const
  table.set(name, codes).set(scale.name, scale)
  const quantized = quantizedWeights(UNet2DConditionModel, table)
  expect(quantized(name)).toEqual({ codes: [32, 4, 16], zeroPoints: false })
  expect(quantized('conv_in.weight')).toBeUndefined()
  expect(matchWeights(UNet2DConditionModel, [unetGraph({ quantized })], table).unexpected).toEqual([])

  // A graph written without `quantized` takes floats, not codes.
  expect(refusal(table).code).toBe('shape-mismatch')
  table.set(name, { ...codes, shape: [32, 4, 7] })
  expect(() => unetGraph({ quantized })).toThrow(expect.objectContaining({ code: 'shape-mismatch' }))
  table.set(name, { ...codes, dtype: 'F16' })
  expect(() => quantized(name)).toThrow(expect.objectContaining({ code: 'dtype-mismatch' }))
  table.set(name, codes).set(scale.name, { ...scale, shape: [32, 5] })
  expect(refusal(table, { quantized }).code).toBe('shape-mismatch')
})
