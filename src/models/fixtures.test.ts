/** Every network of the fixtures' pipelines against the tensors that diffusers computed, in each form that graphs are written in. */

import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import type { Config } from '../checkpoint/types.js'
import type { ComponentGraph, WriteOptions } from '../onnx/types.js'
import { autoencoderKLDecoder, autoencoderKLEncoder } from './autoencoder-kl.js'
import { clipPooling, clipTextModel, clipTokenEmbedding } from './clip-text-model.js'
import { matchWeights, type NetworkClass } from './match-weights.js'
import {
  embed,
  fixtures,
  plain,
  readJson,
  readSafetensors,
  readWeights,
  relativeError,
  runGraph,
  type MemoryEntry,
  type PlainTensor,
} from './testing.node.js'
import { unet2DConditionModel, unetAddEmbeds, unetTimestepProjection } from './unet-2d-condition.js'

/** Float32 sums in another order; the contract allows 1e-3. */
const tolerance = 1e-5

const forms: readonly WriteOptions[] = (['component', 'block'] as const).flatMap((granularity) =>
  (['initializer', 'input'] as const).map((weights) => ({ dtype: 'float32', weights, granularity }) as const),
)

interface Call {
  readonly component: string
  readonly call: string
  readonly inputs: Readonly<Record<string, string>>
  readonly outputs: Readonly<Record<string, string>>
}

/** A call of the fixture as this folder's graphs take it. */
interface Prepared {
  readonly write: (options: WriteOptions) => ComponentGraph
  readonly inputs: Readonly<Record<string, PlainTensor>>
  /** Our output's name for the fixture's. */
  readonly outputs: Readonly<Record<string, string>>
}

function size(tensor: PlainTensor | undefined, axis: number): number {
  return tensor?.dims[axis] ?? 0
}

function prepare(
  className: NetworkClass,
  call: string,
  config: Config,
  table: ReadonlyMap<string, MemoryEntry>,
  given: Record<string, PlainTensor>,
): Prepared {
  if (className === 'CLIPTextModel' || className === 'CLIPTextModelWithProjection') {
    const ids = given.input_ids ?? { dims: [], data: new Float32Array() }
    const shape = { batch: size(ids, 0), sequenceLength: size(ids, 1) }
    const entry = clipTokenEmbedding(className, config)
      .tensors.map((name) => table.get(name))
      .find((found) => found !== undefined)
    const rows = embed(entry!, ids.data)
    return {
      write: (options) => clipTextModel(className, config, shape, options),
      inputs: {
        inputs_embeds: { dims: [...ids.dims, rows.length / ids.data.length], data: rows },
        pooling: { dims: ids.dims, data: clipPooling(className, config, ids.data, shape.sequenceLength) },
      },
      outputs: {
        last_hidden_state: 'last_hidden_state',
        hidden_states_penultimate: 'hidden_state',
        pooler_output: 'pooler_output',
        text_embeds: 'text_embeds',
      },
    }
  }
  if (className === 'AutoencoderKL') {
    const input = call === 'decode' ? 'latents' : 'sample'
    const tensor = given[input]
    const shape = { batch: size(tensor, 0), height: size(tensor, 2), width: size(tensor, 3) }
    const write = call === 'decode' ? autoencoderKLDecoder : autoencoderKLEncoder
    return { write: (options) => write(config, shape, options), inputs: given, outputs: { sample: 'sample', moments: 'moments' } }
  }
  const { sample, timestep, encoder_hidden_states: context, text_embeds: text, time_ids: ids } = given
  const batch = size(sample, 0)
  const shape = { batch, height: size(sample, 2), width: size(sample, 3), sequenceLength: size(context, 1) }
  const times = Array.from({ length: batch }, (_, row) => timestep!.data[row] ?? timestep!.data[0] ?? 0)
  const projected = unetTimestepProjection(config, times)
  const added = text === undefined || ids === undefined ? undefined : unetAddEmbeds(config, text.data, ids.data, batch)
  return {
    write: (options) => unet2DConditionModel(config, shape, options),
    inputs: {
      sample: sample!,
      encoder_hidden_states: context!,
      timestep_proj: { dims: [batch, projected.length / batch], data: projected },
      ...(added === undefined ? {} : { add_embeds: { dims: [batch, added.length / batch], data: added } }),
    },
    outputs: { sample: 'out_sample' },
  }
}

const names = readdirSync(fixtures).filter((name) => existsSync(join(fixtures, name, 'components.json')))

test('there are fixtures', () => {
  expect(names).toEqual(expect.arrayContaining(['tiny-sd15', 'tiny-sd21', 'tiny-sdxl']))
})

describe.each(names)('%s', (name) => {
  const folder = join(fixtures, name)
  const index = readJson(join(folder, 'repo', 'model_index.json'))
  const tensors = readSafetensors(join(folder, 'components.safetensors'))
  const calls = readJson(join(folder, 'components.json')) as unknown as readonly Call[]

  test.each(calls.map((call) => [`${call.component}.${call.call}`, call] as const))('%s', async (_, call) => {
    const [, className] = index[call.component] as [string, NetworkClass]
    const config = readJson(join(folder, 'repo', call.component, 'config.json'))
    const table = readWeights(join(folder, 'repo', call.component))
    const given = Object.fromEntries(Object.entries(call.inputs).map(([key, tensor]) => [key, plain(tensors.get(tensor)!)]))
    const { write, inputs, outputs } = prepare(className, call.call, config, table, given)
    for (const options of forms) {
      const { graphs, unexpected } = matchWeights(className, [write(options)], table)
      expect(unexpected).toEqual([])
      const results = await runGraph(graphs[0]!, table, inputs)
      for (const [key, tensor] of Object.entries(call.outputs)) {
        const error = relativeError(results[outputs[key] ?? ''], plain(tensors.get(tensor)!))
        expect(error, `${key} with ${options.weights}, ${options.granularity}`).toBeLessThan(tolerance)
      }
    }
  })
})
