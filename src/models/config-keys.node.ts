/**
 * For this folder's tests, in Node only: reads fixtures/config-keys. This fixture records how the output of a network in diffusers or
 * transformers changes when one key of its config changes. Weights and inputs are computed from their names, as in
 * fixtures/generator/config_keys/config_keys.py.
 */

import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Config } from '../checkpoint/types.js'
import type { ComponentGraph, WriteOptions } from '../onnx/types.js'
import { elementCount } from '../util/element-count.js'
import { valuesFor } from '../util/testing-values.js'
import { networkDefinition } from './registry.js'
import { graphFor } from './testing.js'
import { fixtures, readJson, runGraph, type MemoryEntry, type PlainTensor } from './testing.node.js'
import type { NetworkModel } from './types.js'
import { UNet2DConditionModel, unetTimeIdEmbeds } from './unets/unet-2d-condition.js'

/**
 * What diffusers or transformers does after a change: it has the same output (`same`), it fails (`error`), or its output has these samples.
 */
type Judgement = 'same' | 'error' | readonly number[]

/** One class with a small config, and a list of changes, of one key each. A change without a value leaves the key out. */
export interface KeyCase {
  readonly class: string
  readonly config: Config
  readonly output: readonly number[]
  readonly changes: readonly (readonly [key: string, judged: Judgement, value?: unknown])[]
}

/** The cases of fixtures/config-keys that are about networks. */
export function readKeyCases(): readonly KeyCase[] {
  const folder = join(fixtures, 'config-keys')
  const files = readdirSync(folder).filter((name) => name.startsWith('networks'))
  return files.flatMap((name) => readJson(join(folder, name)) as unknown as readonly KeyCase[])
}

/** A case's config with one key changed. */
export function changedConfig({ config }: KeyCase, change: KeyCase['changes'][number]): Config {
  const [key, , value] = change
  const { [key]: _, ...rest } = config
  return change.length < 3 ? rest : { ...rest, [key]: value }
}

const ids = [0, 5, 9, 63, 4, 11, 7]
const samples = 12
const options: WriteOptions = { dtype: 'float32', weights: 'input', granularity: 'component' }

const given = (name: string, ...dims: readonly number[]): PlainTensor => ({
  dims,
  data: Float32Array.from(valuesFor(name, elementCount(dims))),
})

function weight(name: string, shape: readonly number[]): Float32Array<ArrayBuffer> {
  const values = valuesFor(name.replace(/^text_model\./, ''), elementCount(shape))
  const kept = shape.slice(0, shape.findLastIndex((dim) => dim !== 1) + 1)
  const nearOne = name.endsWith('weight') || name.startsWith('bn.')
  if (kept.length <= 1) return Float32Array.from(values, (value) => (nearOne ? 1 + 0.2 * value : 0.2 * value))
  const scale = Math.sqrt(3 / elementCount(kept.slice(1)))
  return Float32Array.from(values, (value) => value * scale)
}

const source = { byteLength: 0, read: () => Promise.reject(new Error('Tests read entries by their bytes')) }

function tableOf(graph: ComponentGraph): ReadonlyMap<string, MemoryEntry> {
  const table = new Map<string, MemoryEntry>()
  for (const stage of graph.stages) {
    for (const { name, dims } of stage.program.weights) {
      const parameter = stage.weights[name] ?? name
      const bytes = new Uint8Array(weight(parameter, dims).buffer)
      table.set(name, { name, dtype: 'F32', shape: dims, source, begin: 0, end: bytes.length, bytes })
      table.set(parameter, { name: parameter, dtype: 'F32', shape: dims, source, begin: 0, end: bytes.length, bytes })
    }
  }
  return table
}

/** One run of a network: its graph, its inputs, and the outputs that the fixture samples. */
interface KeyRun {
  readonly graph: ComponentGraph
  readonly inputs: Readonly<Record<string, PlainTensor>>
  readonly outputs: readonly string[]
}

/** The runs of a network as the fixture has them. @throws AquatintError where the config is refused */
export function keyRuns(className: string, config: Config): readonly KeyRun[] {
  const definition = networkDefinition(className)
  const model = definition.fromConfig(config)
  const write = (size: Parameters<typeof graphFor>[2], variant?: Parameters<typeof graphFor>[4]) =>
    graphFor(definition, config, size, options, variant)
  if (model.role === 'autoencoder') return autoencoderRuns(model, write)
  if (model.role === 'denoiser') return [denoiserRun(model, config, write)]
  const tokens = /^(T5|Qwen3)/.test(className) ? [...ids, ...ids] : ids
  const graph = write({ batch: 1, sequenceLength: tokens.length })
  const { tensors, rows, width } = model.tokenEmbedding
  const embedding = weight(tensors[0] ?? '', [rows, width])
  const embeds = Float32Array.from(tokens.flatMap((id) => [...embedding.subarray(id * width, (id + 1) * width)]))
  const inputs = { inputs_embeds: { dims: [1, tokens.length, width], data: embeds }, ...model.hostInputs(tokens, tokens.length) }
  const outputs = ['last_hidden_state', 'hidden_state', 'pooler_output', 'text_embeds']
  return [{ graph, inputs, outputs: outputs.filter((name) => graph.outputs.some((output) => output.name === name)) }]
}

function autoencoderRuns(
  model: Extract<NetworkModel, { readonly role: 'autoencoder' }>,
  write: (size: Parameters<typeof graphFor>[2], variant?: Parameters<typeof graphFor>[4]) => ComponentGraph,
): readonly KeyRun[] {
  // AutoencoderKLFlux2 takes only images whose height and width are multiples of a packed latent pixel's.
  const [channels, height, width] = model.encoderOutput === 'latents' ? [16, 12, 8] : [4, 13, 10]
  return [
    {
      graph: write({ batch: 1, height: 3, width: 2 }),
      inputs: { latents: given('latents', 1, channels, 3, 2) },
      outputs: ['sample'],
    },
    {
      graph: write({ batch: 1, height, width }, { part: 'encoder' }),
      inputs: { sample: given('sample', 1, 3, height, width) },
      outputs: [model.encoderOutput],
    },
  ]
}

function denoiserRun(
  model: Extract<NetworkModel, { readonly role: 'denoiser' }>,
  config: Config,
  write: (size: Parameters<typeof graphFor>[2]) => ComponentGraph,
): KeyRun {
  const isUnet = model.className === UNet2DConditionModel.className
  const [batch, height, width] = isUnet ? [2, 8, 8] : [1, 4, 6]
  const graph = write({ batch, height, width, sequenceLength: 5 })
  const inputs: Record<string, PlainTensor> = {
    [model.latents.input]: given(model.latents.input, batch, 4, height, width),
    encoder_hidden_states: given('encoder_hidden_states', batch, 5, 24),
    pooled_projections: given('pooled_projections', 1, 20),
    ...model.stepInputs(isUnet ? [3, 750] : [750]),
    ...model.positionInputs?.({ height, width, sequenceLength: 5 }),
  }
  if (graph.inputs.some(({ name }) => name === 'guidance_proj')) Object.assign(inputs, model.guidanceInputs?.(3.5, batch))
  for (const [name, { tensor, shape, runs, dims }] of Object.entries(model.tableInputs({ height, width }))) {
    const values = weight(tensor, shape)
    inputs[name] = { dims, data: Float32Array.from(runs.flatMap(({ begin, end }) => Array.from(values.subarray(begin, end)))) }
  }
  if (graph.inputs.some(({ name }) => name === 'add_embeds')) inputs['add_embeds'] = addEmbeds(config)
  if (graph.inputs.some(({ name }) => name === 'attention_mask'))
    inputs['attention_mask'] = { dims: [1, 5], data: Float32Array.of(1, 1, 1, 0, 0) }
  // The fixture's runs have no guidance scale. The projection of the scale's embedding has no bias, so zeros add nothing.
  const guidance = graph.inputs.find(({ name }) => name === 'timestep_cond')?.dims
  if (guidance !== undefined)
    inputs['timestep_cond'] = { dims: guidance, data: new Float32Array((guidance[0] ?? 0) * (guidance[1] ?? 0)) }
  return { graph, inputs, outputs: ['out_sample'] }
}

function addEmbeds(config: Config): PlainTensor {
  const text = given('text_embeds', 2, 20).data
  const timeIds = given('time_ids', 2, 6).data.map((value) => Math.fround(40 + Math.fround(24 * value)))
  const times = unetTimeIdEmbeds(UNet2DConditionModel.fromConfig(config).config, timeIds, 2, 20)
  const width = times.length / 2
  const data = new Float32Array(2 * (20 + width))
  for (const row of [0, 1]) {
    data.set(text.subarray(row * 20, row * 20 + 20), row * (20 + width))
    data.set(times.subarray(row * width, row * width + width), row * (20 + width) + 20)
  }
  return { dims: [2, 20 + width], data }
}

/** The values of these runs that the fixture samples. */
export async function sampleRuns(runs: readonly KeyRun[]): Promise<number[]> {
  const found: number[] = []
  for (const { graph, inputs, outputs } of runs) {
    const results = await runGraph(graph, tableOf(graph), inputs)
    for (const name of outputs) {
      const data = results[name]?.data ?? new Float32Array()
      found.push(data.length)
      for (let at = 0; at < samples; at++) found.push(data[Math.trunc((at * (data.length - 1)) / (samples - 1))] ?? Number.NaN)
    }
  }
  return found
}

/** Whether two sets of runs compute the same: equal programs with equal weights and inputs. */
export function sameRuns(a: readonly KeyRun[], b: readonly KeyRun[]): boolean {
  const described = (runs: readonly KeyRun[]) =>
    JSON.stringify(
      runs.map(({ graph, inputs, outputs }) => [
        graph.stages.map(({ program, weights, inputs: from, outputs: to }) => [program.key, weights, from, to]),
        Object.entries(inputs)
          .filter(([name]) => graph.inputs.some((input) => input.name === name))
          .map(([name, { dims, data }]) => [name, dims, [...data]]),
        outputs,
      ]),
    )
  return described(a) === described(b)
}
