/**
 * For this folder's tests, in Node only: reads the recorded calls of components from the fixtures, and converts their inputs to those of
 * this folder's graphs.
 */

import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Config } from '../checkpoint/types.js'
import type { ComponentGraph, WriteOptions } from '../onnx/types.js'
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
import { networkDefinition } from './registry.js'
import { graphFor } from './testing.js'
import { numbered } from './text-encoders/encoder-variants.js'
import type { AutoencoderModel, DenoiserModel, NetworkDefinition, TextEncoderModel } from './types.js'
import { UNet2DConditionModel, unetTimeIdEmbeds } from './unets/unet-2d-condition.js'

type Table = ReadonlyMap<string, MemoryEntry>
type Tensors = ReadonlyMap<string, PlainTensor>

/** A recorded call, with what a test needs to write its graph, run it and compare its outputs. */
export interface FixtureCall {
  readonly definition: NetworkDefinition
  readonly config: Config
  readonly table: Table
  /**
   * Writes the graph of the call. If this graph omits layers or returns selected hidden states, also writes the plain graph, because only
   * that graph uses the other tensors of the checkpoint.
   */
  readonly write: (options: WriteOptions) => readonly [ComponentGraph, ...ComponentGraph[]]
  readonly inputs: Readonly<Record<string, PlainTensor>>
  /** The reference's outputs, by Aquatint's names. */
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

/** A function for each call of a fixture, by `component.call`. The function reads the recorded call. */
export function fixtureCalls(name: string): ReadonlyMap<string, (variant?: string) => FixtureCall> {
  const folder = join(fixtures, name)
  const index = readJson(join(folder, 'repo', 'model_index.json'))
  const calls = readJson(join(folder, 'components.json')) as unknown as readonly Call[]
  const read = (call: Call, variant?: string): FixtureCall => {
    const tensors = readSafetensors(join(folder, 'components.safetensors'))
    const values = (names: Readonly<Record<string, string>>) =>
      new Map(Object.entries(names).map(([key, tensor]) => [key, plain(get(tensors, tensor))]))
    const [, className] = index[call.component] as [string, string]
    const definition = networkDefinition(className)
    const config = readJson(join(folder, 'repo', call.component, 'config.json'))
    const table = readWeights(join(folder, 'repo', call.component), variant)
    const prepared = prepare(definition, call, config, table, values(call.inputs))
    const expected = [...values(call.outputs)].map(([key, value]) => [prepared.outputs[key] ?? key, value] as const)
    return { ...prepared, definition, config, table, expected: Object.fromEntries(expected) }
  }
  return new Map(calls.map((call) => [`${call.component}.${call.call}`, (variant) => read(call, variant)]))
}

/**
 * The parts of a call that depend on the network's role. `outputs` maps the fixture's names of outputs to Aquatint's, where the two differ.
 */
interface Prepared {
  readonly write: FixtureCall['write']
  readonly inputs: Readonly<Record<string, PlainTensor>>
  readonly outputs: Readonly<Record<string, string>>
}

function prepare(definition: NetworkDefinition, { call, outputs }: Call, config: Config, table: Table, given: Tensors): Prepared {
  const model = definition.fromConfig(config)
  switch (model.role) {
    case 'text-encoder':
      return prepareTextEncoder(definition, model, config, table, given, Object.keys(outputs))
    case 'autoencoder':
      return prepareAutoencoder(definition, model, call, config, given)
    case 'denoiser':
      return prepareDenoiser(definition, model, call, config, table, given)
  }
}

function prepareTextEncoder(
  definition: NetworkDefinition,
  model: TextEncoderModel,
  config: Config,
  table: Table,
  given: Tensors,
  outputs: readonly string[],
): Prepared {
  const ids = get(given, 'input_ids')
  const size = { batch: axis(ids, 0), sequenceLength: axis(ids, 1) }
  const mask = given.get('attention_mask')
  // `hidden_states_3` is the hidden state number 3.
  const chosen = outputs.filter((name) => /^hidden_states_\d+$/.test(name))
  const hiddenStates = chosen.map((name) => {
    const index = Number(name.slice('hidden_states_'.length))
    return { index, finalLayerNorm: index === model.layers }
  })
  const variant = { ...(chosen.length === 0 ? {} : { hiddenStates }), attentionMask: mask !== undefined }
  return {
    write: (options) => [
      graphFor(definition, config, size, options, variant),
      ...(chosen.length === 0 ? [] : [graphFor(definition, config, size, options)]),
    ],
    inputs: {
      inputs_embeds: embedded(table, model.tokenEmbedding.tensors, ids),
      ...model.hostInputs(ids.data, size.sequenceLength),
      ...(mask === undefined ? {} : { attention_mask: mask }),
    },
    outputs: {
      hidden_states_penultimate: 'hidden_state',
      ...Object.fromEntries(chosen.map((name, place) => [name, numbered('hidden_state', place)])),
    },
  }
}

function prepareAutoencoder(
  definition: NetworkDefinition,
  model: AutoencoderModel,
  call: string,
  config: Config,
  given: Tensors,
): Prepared {
  const part = call === 'decode' ? undefined : 'encoder'
  const [name = ''] = Object.keys(model.shapes(model.smallest, { part }))
  const image = get(given, name)
  const size = { batch: axis(image, 0), height: axis(image, 2), width: axis(image, 3) }
  return {
    write: (options) => [graphFor(definition, config, size, options, { part })],
    inputs: { [name]: image },
    outputs: {},
  }
}

function prepareDenoiser(
  definition: NetworkDefinition,
  model: DenoiserModel,
  call: string,
  config: Config,
  table: Table,
  given: Tensors,
): Prepared {
  const { input } = model.latents
  const latents = get(given, input)
  const batch = axis(latents, 0)
  const height = axis(latents, 2)
  const width = axis(latents, 3)
  const sequenceLength = axis(get(given, 'encoder_hidden_states'), 1)
  const tokens = given.get('reference_latents')
  const references = rowsOf(given.get('reference_sizes')).map(([height = 0, width = 0]) => ({ height, width }))
  const lengths = given.get('text_lengths')
  const positions =
    model.positionInputs?.({ height, width, sequenceLength, references, textLengths: lengths && [...lengths.data] }) ?? {}
  const others = Object.fromEntries(Object.entries(positions).map(([name, { dims }]) => [name, dims]))
  const size = { batch, height, width, sequenceLength, references: tokens && axis(tokens, 1), others }
  const guidance = given.get('guidance')?.data[0]
  const prompt = model.promptInputs.flatMap((name) => {
    const value = given.get(name)
    return value === undefined ? [] : [[name, value] as const]
  })
  const text = given.get('text_embeds')
  const crops = Object.entries(model.tableInputs({ height, width })).map(([name, { tensor, runs, dims }]) => {
    const values = plain(get(table, tensor)).data
    const data = Float32Array.from(runs.flatMap(({ begin, end }) => Array.from(values.subarray(begin, end))))
    return [name, { dims, data }] as const
  })
  return {
    write: (options) => {
      const whole = graphFor(definition, config, size, options)
      // In this call, fixtures/generator/networks/networks.py skipped layers 1 and 2.
      return call === 'skip_layers' ? [graphFor(definition, config, size, options, { skipLayers: [1, 2] }), whole] : [whole]
    },
    inputs: {
      [input]: latents,
      ...Object.fromEntries([...prompt, ...crops]),
      ...(tokens === undefined ? {} : { reference_latents: tokens }),
      ...positions,
      ...(guidance === undefined ? {} : model.guidanceInputs?.(guidance, batch)),
      ...model.stepInputs(timesteps(given, batch)),
      ...(text === undefined ? {} : { add_embeds: addEmbeds(config, text, get(given, 'time_ids')) }),
    },
    outputs: { sample: 'out_sample' },
  }
}

/** For each row, the text embedding, then the embeddings of the time ids. */
function addEmbeds(config: Config, text: PlainTensor, timeIds: PlainTensor): PlainTensor {
  const batch = axis(text, 0)
  const width = axis(text, 1)
  const times = unetTimeIdEmbeds(UNet2DConditionModel.fromConfig(config).config, timeIds.data, batch, width)
  const timeWidth = times.length / batch
  const joined = Array.from({ length: batch }, (_, row) => [
    ...text.data.subarray(row * width, (row + 1) * width),
    ...times.subarray(row * timeWidth, (row + 1) * timeWidth),
  ])
  return rows(batch, Float32Array.from(joined.flat()))
}

/** The rows of [rows, columns]; none if there is no tensor. */
function rowsOf(tensor: PlainTensor | undefined): number[][] {
  if (tensor === undefined) return []
  const width = axis(tensor, 1)
  return Array.from({ length: axis(tensor, 0) }, (_, row) => [...tensor.data.subarray(row * width, (row + 1) * width)])
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
