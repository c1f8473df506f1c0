/**
 * Whole networks in float16 on the GPU, against PyTorch in float32 (fixtures/float16-networks): with a residual stream that passes 65,504, and with
 * quantized weights. Each error is at most 1.5 times PyTorch's own in float16 (where float16 alone overflows, with products in float16 and sums in float32).
 */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import cases from '../../fixtures/float16-networks/cases.json' with { type: 'json' }
import massiveCases from '../../fixtures/float16-networks/massive.json' with { type: 'json' }
import { readSafetensorsHeader } from '../checkpoint/safetensors.js'
import {
  dequantizeRows,
  isQuantizable,
  optionsFor,
  quantizedLayout,
  quantizeRows,
} from '../checkpoint/transforms/quantize-rows.js'
import { quantize } from '../checkpoint/transforms/quantize.js'
import { transformTable } from '../checkpoint/transforms/transform-table.js'
import type { Config, TensorEntry, WeightTable } from '../checkpoint/types.js'
import { relativeError } from '../onnx/testing-operators.js'
import { BoundNetwork } from '../runtime/bound-network.js'
import type { Device } from '../runtime/device.js'
import { openDevice } from '../runtime/open-device.js'
import { TestSource } from '../runtime/testing.js'
import type { HostTensor } from '../runtime/types.js'
import { shareGpuDevices } from '../runtime/webgpu/testing-shared-gpu.js'
import { bfloat16ToFloat32, float16ToFloat32 } from '../util/half.js'
import { matchWeights, quantizedWeights } from './match-weights.js'
import { networkDefinition } from './registry.js'
import type { GraphVariant } from './types.js'

shareGpuDevices()

/** A case of either list: the members that both have. */
type Case = Pick<(typeof cases)[number], 'name' | 'className' | 'folder' | 'files' | 'edits'>

/** The values of a tensor, which may be changed: its source has them from then on. */
interface Tensor {
  readonly entry: TensorEntry
  readonly values: Float32Array<ArrayBuffer>
}

let cpu: Device
let gpu: Device
let recorded: ReadonlyMap<string, Tensor>
beforeAll(async () => {
  gpu = await openDevice({ kind: 'webgpu' })
  cpu = await openDevice({ kind: 'wasm' })
  recorded = await tensors('float16-networks/tensors.safetensors')
})
afterAll(async () => {
  await gpu.dispose()
  await cpu.dispose()
})
beforeEach(({ skip }) => {
  if (!gpu.info.shaderF16) skip('This GPU has no shader-f16.')
})

async function fetched(path: string): Promise<ArrayBuffer> {
  const response = await fetch(`/fixtures/${path}`)
  if (!response.ok) throw new Error(`${path}: ${response.status}`)
  return response.arrayBuffer()
}

function floats(dtype: string, bytes: Uint8Array<ArrayBuffer>): Float32Array<ArrayBuffer> {
  const { buffer } = bytes.slice()
  if (dtype === 'I64') return Float32Array.from(new BigInt64Array(buffer), Number)
  if (dtype === 'F32') return new Float32Array(buffer)
  return dtype === 'F16' ? float16ToFloat32(new Uint16Array(buffer)) : bfloat16ToFloat32(new Uint16Array(buffer))
}

/** An entry of a weight table: a tensor of these float32 values. */
function entryOf(name: string, shape: readonly number[], values: Float32Array<ArrayBuffer>): TensorEntry {
  return { name, dtype: 'F32', shape, begin: 0, end: values.byteLength, source: new TestSource(new Uint8Array(values.buffer)) }
}

/** The tensors of a file, in float32. */
async function tensors(path: string): Promise<Map<string, Tensor>> {
  const bytes = new Uint8Array(await fetched(path))
  const { tensors: headers } = await readSafetensorsHeader(new TestSource(bytes), path)
  return new Map(
    [...headers].map(([name, { dtype, shape, begin, end }]) => {
      const values = floats(dtype, bytes.subarray(begin, end))
      return [name, { entry: entryOf(name, shape, values), values }]
    }),
  )
}

/** The weights of a case, with its edits. */
async function weights({ folder, files, edits }: Case): Promise<ReadonlyMap<string, Tensor>> {
  const read = await Promise.all(files.map((file) => tensors(`${folder}/${file}`)))
  const all = new Map<string, Tensor>()
  for (const file of read) for (const [name, tensor] of file) all.set(name, tensor)
  for (const { tensor, rows, factor } of edits) {
    const { entry, values } = all.get(tensor)!
    const [count = 1] = entry.shape
    const length = values.length / count
    for (const row of rows.length === 0 ? Array(count).keys() : rows)
      for (let i = row * length; i < (row + 1) * length; i++) values[i]! *= factor
  }
  return all
}

/** The recorded inputs or outputs of a case's graph, by name. */
function recordedOf({ name, inputs }: (typeof cases)[number], kind: 'inputs' | 'outputs'): Record<string, HostTensor> {
  const prefix = kind === 'inputs' ? `${inputs}.inputs.` : `${name}.outputs.`
  const own = [...recorded].filter(([key]) => key.startsWith(prefix))
  return Object.fromEntries(
    own.map(([key, { entry, values }]) => [key.slice(prefix.length), { type: 'float32', dims: entry.shape, data: values }]),
  )
}

type Inputs = Readonly<Record<string, HostTensor>>

async function run(
  device: Device,
  item: Case,
  table: WeightTable,
  dtype: 'float32' | 'float16',
  inputs: Inputs,
  variant?: GraphVariant,
) {
  const definition = networkDefinition(item.className)
  const config = await configOf(item)
  const shapes = Object.fromEntries(Object.entries(inputs).map(([name, { dims }]) => [name, dims]))
  const options = { ...device.writeOptions({ dtype, granularity: 'component' }), quantized: quantizedWeights(definition, table) }
  const graph = matchWeights(definition, [definition.fromConfig(config).write(shapes, options, variant)], table).graphs[0]!
  const network = new BoundNetwork({ name: item.name, device, table, graph: () => graph, shapes })
  const results: Record<string, Float32Array> = {}
  for (const [name, tensor] of Object.entries(await network.run(inputs))) {
    results[name] = await tensor.read()
    tensor.dispose()
  }
  await network.dispose()
  return results
}

async function configOf({ folder }: Case): Promise<Config> {
  return JSON.parse(new TextDecoder().decode(await fetched(`${folder}/config.json`))) as Config
}

/** The hidden state that Z-Image reads of a model with three layers. */
const qwen3States: GraphVariant = { hiddenStates: [{ index: 2, finalLayerNorm: false }], attentionMask: true }

const variantFor = (inputs: Inputs) => ('attention_mask' in inputs && 'inputs_embeds' in inputs ? qwen3States : undefined)

const hostTensor = ({ entry, values }: Tensor): HostTensor => ({ type: 'float32', dims: entry.shape, data: values })

/** The graph's inputs for a call that the fixture of a network recorded. */
async function callInputs(item: (typeof massiveCases)[number], all: ReadonlyMap<string, Tensor>): Promise<Inputs> {
  const model = networkDefinition(item.className).fromConfig(await configOf(item))
  const recordings = await tensors(`${item.fixture}/components.safetensors`)
  const given = (name: string) => recordings.get(`${item.prefix}.${name}`)
  if (model.role === 'text-encoder') {
    const ids = given('input_ids')!
    const table = all.get(model.tokenEmbedding.tensors.find((name) => all.has(name))!)!
    const { width } = model.tokenEmbedding
    const rows = new Float32Array(ids.values.length * width)
    for (const [row, id] of ids.values.entries()) rows.set(table.values.subarray(id * width, (id + 1) * width), row * width)
    const own = model.hostInputs(ids.values, ids.entry.shape[1]!)
    return {
      inputs_embeds: { type: 'float32', dims: [...ids.entry.shape, width], data: rows },
      attention_mask: hostTensor(given('attention_mask')!),
      ...floatTensors(own),
    }
  }
  if (model.role !== 'denoiser') throw new TypeError(item.className)
  const latents = given('hidden_states')!
  const [batch = 0, , height = 0, width = 0] = latents.entry.shape
  const [, sequenceLength = 0] = given('encoder_hidden_states')!.entry.shape
  const lengths = given('text_lengths')
  const sizes = { height, width, sequenceLength, references: [], textLengths: lengths && [...lengths.values] }
  const prompt = model.promptInputs.flatMap((name) => {
    const value = given(name)
    return value === undefined ? [] : [[name, hostTensor(value)] as const]
  })
  const guidance = given('guidance')?.values[0]
  return {
    [model.latents.input]: hostTensor(latents),
    ...Object.fromEntries(prompt),
    ...floatTensors(model.positionInputs?.(sizes) ?? {}),
    ...floatTensors(guidance === undefined ? {} : (model.guidanceInputs?.(guidance, batch) ?? {})),
    ...floatTensors(model.stepInputs([...given('timestep')!.values])),
  }
}

function floatTensors(
  given: Readonly<Record<string, { readonly dims: readonly number[]; readonly data: Float32Array<ArrayBuffer> }>>,
): Inputs {
  return Object.fromEntries(Object.entries(given).map(([name, { dims, data }]) => [name, { type: 'float32', dims, data }]))
}

test.each(massiveCases)('$className: $largest in the residual stream', async (item) => {
  const all = await weights(item)
  const table = new Map([...all].map(([name, { entry }]) => [name, entry]))
  const inputs = await callInputs(item, all)
  const results = await run(gpu, item, table, 'float16', inputs, variantFor(inputs))
  const expected = await tensors('float16-networks/massive.safetensors')
  for (const [name, own] of Object.entries<number>(item.rms))
    expect.soft(relativeError(results[name], expected.get(`${item.name}.${name}`)!.values), name).toBeLessThanOrEqual(1.5 * own)
})

const massive = cases.filter(({ edits }) => edits.length > 0)
const plain = cases.filter(({ edits }) => edits.length === 0)

test.each(massive)('$name: $largest in the residual stream', async (item) => {
  const table = new Map([...(await weights(item))].map(([name, { entry }]) => [name, entry]))
  const results = await run(gpu, item, table, 'float16', recordedOf(item, 'inputs'))
  for (const [name, own] of Object.entries<number>(item.rms))
    expect
      .soft(relativeError(results[name], recordedOf(item, 'outputs')[name]!.data as Float32Array), name)
      .toBeLessThanOrEqual(1.5 * own)
})

/** The results of a network with quantized weights in float16, and with its dequantized weights (`decoded`) in float32 (`expected`). */
async function quantizedResults(
  item: Case,
  all: ReadonlyMap<string, Tensor>,
  inputs: Inputs,
  bits: 8 | 4,
  variant?: GraphVariant,
) {
  const how = { bits, sensitive: networkDefinition(item.className).sensitive }
  const table = new Map([...all].map(([name, { entry }]) => [name, entry]))
  const decoded = new Map(table)
  for (const [name, { entry, values }] of all) {
    if (!isQuantizable(entry, how)) continue
    const layout = quantizedLayout(entry.shape, optionsFor(name, how))
    decoded.set(name, entryOf(name, entry.shape, dequantizeRows(quantizeRows(values, layout, name), layout)))
  }
  return {
    expected: await run(cpu, item, decoded, 'float32', inputs, variant),
    decoded,
    actual: await run(gpu, item, transformTable(table, [quantize(how)]), 'float16', inputs, variant),
  }
}

describe.each([{ bits: 8 }, { bits: 4 }] as const)('with %o', ({ bits }) => {
  test.each(plain)('$name, against its dequantized weights in float32', async (item) => {
    const { actual, expected } = await quantizedResults(item, await weights(item), recordedOf(item, 'inputs'), bits)
    for (const [name, own] of Object.entries<number>(item.rms))
      expect.soft(relativeError(actual[name], expected[name]!), name).toBeLessThanOrEqual(1.5 * own)
  })

  // Quantization changes how much the edited weights magnify roundings, up to six times: then their own result in float16 is the limit.
  test.each(massiveCases)('$className with a large residual stream, against its dequantized weights in float32', async (item) => {
    const all = await weights(item)
    const inputs = await callInputs(item, all)
    const { actual, expected, decoded } = await quantizedResults(item, all, inputs, bits, variantFor(inputs))
    const rounded = await run(gpu, item, decoded, 'float16', inputs, variantFor(inputs))
    for (const [name, own] of Object.entries<number>(item.rms)) {
      const most = Math.max(1.5 * own, relativeError(rounded[name], expected[name]!))
      expect.soft(relativeError(actual[name], expected[name]!), name).toBeLessThanOrEqual(most)
    }
  })
})
