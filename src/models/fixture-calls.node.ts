/** For this folder's tests, in Node only: the calls that the fixtures recorded of each component, as this folder's graphs take them. */

import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Config } from '../checkpoint/types.js'
import type { ComponentGraph, WriteOptions } from '../onnx/types.js'
import { autoencoderKLDecoder, autoencoderKLEncoder } from './autoencoders/autoencoder-kl.js'
import { clipPooling, clipTextModel, clipTokenEmbedding, type ClipTextClass } from './text-encoders/clip-text-model.js'
import type { NetworkClass } from './match-weights.js'
import { sd3PositionRows, sd3TimestepProjection, sd3Transformer2DModel } from './transformers/transformer-sd3.js'
import { t5EncoderModel, t5TokenEmbedding } from './text-encoders/t5-encoder-model.js'
import {
  embed,
  fixtures,
  plain,
  readJson,
  readSafetensors,
  readWeights,
  type MemoryEntry,
  type PlainTensor,
} from './testing.node.js'
import { unet2DConditionModel, unetTimeIdEmbeds, unetTimestepProjection } from './unets/unet-2d-condition.js'

type Table = ReadonlyMap<string, MemoryEntry>
type Tensors = ReadonlyMap<string, PlainTensor>

/** A recorded call, ready to be written, run and compared. */
export interface FixtureCall {
  readonly className: NetworkClass
  readonly config: Config
  readonly table: Table
  /** The graph of the call first; after it, one that uses the tensors which the call leaves out. */
  readonly write: (options: WriteOptions) => readonly [ComponentGraph, ...ComponentGraph[]]
  readonly inputs: Readonly<Record<string, PlainTensor>>
  /** The reference's outputs by our names. */
  readonly expected: Readonly<Record<string, PlainTensor>>
}

/** Folders of fixtures that hold calls of components. */
export function fixtureNames(): string[] {
  return readdirSync(fixtures).filter((name) => existsSync(join(fixtures, name, 'components.json')))
}

/** An entry of components.json. */
interface Call {
  readonly component: string
  readonly call: string
  readonly inputs: Readonly<Record<string, string>>
  readonly outputs: Readonly<Record<string, string>>
}

/** The calls of one fixture by `component.call`, read when asked for. */
export function fixtureCalls(name: string): ReadonlyMap<string, (variant?: string) => FixtureCall> {
  const folder = join(fixtures, name)
  const index = readJson(join(folder, 'repo', 'model_index.json'))
  const calls = readJson(join(folder, 'components.json')) as unknown as readonly Call[]
  const read = (call: Call, variant?: string): FixtureCall => {
    const tensors = readSafetensors(join(folder, 'components.safetensors'))
    const values = (names: Readonly<Record<string, string>>) =>
      new Map(Object.entries(names).map(([key, tensor]) => [key, plain(get(tensors, tensor))]))
    const [, className] = index[call.component] as [string, NetworkClass]
    const config = readJson(join(folder, 'repo', call.component, 'config.json'))
    const table = readWeights(join(folder, 'repo', call.component), variant)
    const prepared = prepare(className, call.call, config, table, values(call.inputs))
    const expected = [...values(call.outputs)].map(([key, value]) => [prepared.outputs[key] ?? key, value] as const)
    return { ...prepared, className, config, table, expected: Object.fromEntries(expected) }
  }
  return new Map(calls.map((call) => [`${call.component}.${call.call}`, (variant) => read(call, variant)]))
}

/** What differs by class. `outputs` has our name for the fixture's where they differ. */
interface Prepared {
  readonly write: FixtureCall['write']
  readonly inputs: Readonly<Record<string, PlainTensor>>
  readonly outputs: Readonly<Record<string, string>>
}

function prepare(className: NetworkClass, call: string, config: Config, table: Table, given: Tensors): Prepared {
  switch (className) {
    case 'CLIPTextModel':
    case 'CLIPTextModelWithProjection':
      return prepareClip(className, config, table, given)
    case 'T5EncoderModel':
      return prepareT5(config, table, given)
    case 'AutoencoderKL':
      return prepareAutoencoder(call, config, given)
    case 'UNet2DConditionModel':
      return prepareUnet(config, given)
    case 'SD3Transformer2DModel':
      return prepareSd3(call, config, table, given)
  }
}

function prepareClip(className: ClipTextClass, config: Config, table: Table, given: Tensors): Prepared {
  const ids = get(given, 'input_ids')
  const shape = { batch: axis(ids, 0), sequenceLength: axis(ids, 1) }
  return {
    write: (options) => [clipTextModel(className, config, shape, options)],
    inputs: {
      inputs_embeds: embedded(table, clipTokenEmbedding(className, config).tensors, ids),
      pooling: { dims: ids.dims, data: clipPooling(className, config, ids.data, shape.sequenceLength) },
    },
    outputs: { hidden_states_penultimate: 'hidden_state' },
  }
}

function prepareT5(config: Config, table: Table, given: Tensors): Prepared {
  const ids = get(given, 'input_ids')
  const shape = { batch: axis(ids, 0), sequenceLength: axis(ids, 1) }
  return {
    write: (options) => [t5EncoderModel(config, shape, options)],
    inputs: { inputs_embeds: embedded(table, t5TokenEmbedding(config).tensors, ids) },
    outputs: {},
  }
}

function prepareAutoencoder(call: string, config: Config, given: Tensors): Prepared {
  const [name, write] =
    call === 'decode' ? (['latents', autoencoderKLDecoder] as const) : (['sample', autoencoderKLEncoder] as const)
  const image = get(given, name)
  const shape = { batch: axis(image, 0), height: axis(image, 2), width: axis(image, 3) }
  return { write: (options) => [write(config, shape, options)], inputs: { [name]: image }, outputs: {} }
}

function prepareUnet(config: Config, given: Tensors): Prepared {
  const sample = get(given, 'sample')
  const context = get(given, 'encoder_hidden_states')
  const batch = axis(sample, 0)
  const shape = { batch, height: axis(sample, 2), width: axis(sample, 3), sequenceLength: axis(context, 1) }
  const text = given.get('text_embeds')
  const added = text === undefined ? undefined : addEmbeds(config, text, get(given, 'time_ids'))
  return {
    write: (options) => [unet2DConditionModel(config, shape, options)],
    inputs: {
      sample,
      encoder_hidden_states: context,
      timestep_proj: rows(batch, unetTimestepProjection(config, timesteps(given, batch))),
      ...(added === undefined ? {} : { add_embeds: added }),
    },
    outputs: { sample: 'out_sample' },
  }
}

/** Each row's text embedding, then its time ids'. */
function addEmbeds(config: Config, text: PlainTensor, timeIds: PlainTensor): PlainTensor {
  const batch = axis(text, 0)
  const width = axis(text, 1)
  const times = unetTimeIdEmbeds(config, timeIds.data, batch, width)
  const timeWidth = times.length / batch
  const joined = Array.from({ length: batch }, (_, row) => [
    ...text.data.subarray(row * width, (row + 1) * width),
    ...times.subarray(row * timeWidth, (row + 1) * timeWidth),
  ])
  return rows(batch, Float32Array.from(joined.flat()))
}

function prepareSd3(call: string, config: Config, table: Table, given: Tensors): Prepared {
  const latents = get(given, 'hidden_states')
  const context = get(given, 'encoder_hidden_states')
  const batch = axis(latents, 0)
  const shape = { batch, height: axis(latents, 2), width: axis(latents, 3), sequenceLength: axis(context, 1) }
  const { tensor, runs, shape: tableShape } = sd3PositionRows(config, shape)
  const positions = plain(get(table, tensor)).data
  const crop = Float32Array.from(runs.flatMap(({ begin, end }) => Array.from(positions.subarray(begin, end))))
  return {
    write: (options) => {
      const whole = sd3Transformer2DModel(config, shape, options)
      // Which layers, fixtures/generator/networks.py says.
      return call === 'skip_layers' ? [sd3Transformer2DModel(config, shape, { ...options, skipLayers: [1, 2] }), whole] : [whole]
    },
    inputs: {
      hidden_states: latents,
      encoder_hidden_states: context,
      pooled_projections: get(given, 'pooled_projections'),
      pos_embed: rows(crop.length / tableShape[2], crop),
      timestep_proj: rows(batch, sd3TimestepProjection(timesteps(given, batch))),
    },
    outputs: { sample: 'out_sample' },
  }
}

/** One timestep for each row of the batch. */
function timesteps(given: Tensors, batch: number): number[] {
  const { data } = get(given, 'timestep')
  return Array.from({ length: batch }, (_, row) => data[Math.min(row, data.length - 1)] ?? 0)
}

function embedded(table: Table, names: readonly string[], ids: PlainTensor): PlainTensor {
  const data = embed(get(table, names.find((name) => table.has(name)) ?? ''), ids.data)
  return { dims: [...ids.dims, data.length / ids.data.length], data }
}

function rows(count: number, data: Float32Array<ArrayBuffer>): PlainTensor {
  return { dims: [count, data.length / count], data }
}

function axis(tensor: PlainTensor, index: number): number {
  return tensor.dims[index] ?? 0
}

function get<Value>(values: ReadonlyMap<string, Value>, name: string): Value {
  const value = values.get(name)
  if (value === undefined) throw new Error(`The fixture has no ${name}`)
  return value
}
