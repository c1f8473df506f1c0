/**
 * `npm run bench:wasm`: what onnxruntime's WebAssembly build takes for an operator in two forms, and for whole UNets with random weights, on one thread.
 * The figures are milliseconds of CPU time, the least of some rounds in which the forms alternate, so that other processes disturb them little.
 *
 * `-- --network NAME --export FILE.onnx`: only that UNet, beside an ONNX file of the same network (bench/kernels/export.py writes one).
 */

import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import * as ort from 'onnxruntime-web/wasm'
import type { Config } from '../src/checkpoint/types.js'
import counted from './kernels/networks.json' with { type: 'json' }
import { networkDefinition } from '../src/models/registry.js'
import { ComponentBuilder } from '../src/onnx/component-builder.js'
import type { GraphBuilder } from '../src/onnx/graph-builder.js'
import { add, matMul, mul, quickGelu, softmax } from '../src/onnx/ops-math.js'
import { gemm, multiHeadAttention } from '../src/onnx/ops-network.js'
import { reshape, transpose } from '../src/onnx/ops-shape.js'
import type { Stage, ValueInfo } from '../src/onnx/types.js'
import { elementCount } from '../src/util/element-count.js'

const rounds = 5
const options = { dtype: 'float32', weights: 'initializer', granularity: 'component' } as const

type Body = (graph: GraphBuilder, x: ValueInfo) => ValueInfo
type Timed = () => Promise<number>

function numbers(dims: readonly number[]): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length: elementCount(dims) }, (_, i) => Math.sin(i * 1.7) * 0.05)
}

/** Makes a session of a stage with invented weights. The result runs it once and gives its CPU milliseconds. */
async function prepare(stage: Stage | undefined): Promise<Timed> {
  if (stage === undefined) throw new Error('The graph is empty')
  const { program } = stage
  const session = await ort.InferenceSession.create(program.model, {
    externalData: program.weights.map(({ name, dims }) => ({ path: name, data: new Uint8Array(numbers(dims).buffer) })),
    logSeverityLevel: 3,
  })
  return timed(session, program.inputs)
}

/** An ONNX file of a whole network, as other tools export it. */
async function prepareFile(path: string): Promise<Timed> {
  const session = await ort.InferenceSession.create(readFileSync(path), { logSeverityLevel: 3 })
  const inputs = session.inputMetadata.flatMap((input) => {
    if (!input.isTensor) return []
    return [{ name: input.name, type: input.type, dims: input.shape.map(Number) }]
  })
  return timed(session, inputs)
}

interface Input {
  readonly name: string
  readonly type: string
  readonly dims: readonly number[]
}

function timed(session: ort.InferenceSession, inputs: readonly Input[]): Timed {
  const tensor = ({ type, dims }: Input) =>
    type === 'int64'
      ? new ort.Tensor('int64', new BigInt64Array(elementCount(dims)).fill(10n), dims)
      : new ort.Tensor('float32', numbers(dims), dims)
  const feeds = Object.fromEntries(inputs.map((input) => [input.name, tensor(input)]))
  return async () => {
    const before = process.cpuUsage()
    await session.run(feeds)
    const { user, system } = process.cpuUsage(before)
    return (user + system) / 1000
  }
}

function sigmoid(graph: GraphBuilder, x: ValueInfo): ValueInfo {
  const [result = x] = graph.node({ op: 'Sigmoid', inputs: [x], outputs: [{ type: x.type, dims: x.dims }] })
  return result
}

function operator(dims: readonly number[], body: Body): Promise<Timed> {
  const component = new ComponentBuilder('operator', options)
  const given = component.input('x', 'float32', dims)
  const { y } = component.stage('operator', { x: given }, (graph, { x }) => ({ y: body(graph, x) }))
  component.output('y', y)
  return prepare(component.finish().stages[0])
}

/** The least of the times of each form; the first run of each is not counted. */
async function measure(forms: Readonly<Record<string, Timed>>): Promise<string[]> {
  const least: Record<string, number> = {}
  for (let round = 0; round <= rounds; round++) {
    for (const [name, run] of Object.entries(forms)) {
      const time = await run()
      if (round > 0) least[name] = Math.min(least[name] ?? Number.POSITIVE_INFINITY, time)
    }
  }
  return Object.entries(least).map(([name, time]) => `${name} ${time.toFixed(2)}`)
}

/** One head's tokens as rows: [batch, tokens, heads · size] → [batch, heads, tokens, size], or with `keys` [batch, heads, size, tokens]. */
function heads(graph: GraphBuilder, x: ValueInfo, count: number, keys = false): ValueInfo {
  const [batch = 1, tokens = 1, width = 1] = x.dims
  return transpose(graph, reshape(graph, x, [batch, tokens, count, width / count]), keys ? [0, 2, 3, 1] : [0, 2, 1, 3])
}

function linear(columns: number, rows: number): Record<'Gemm' | 'MatMul, Add', Body> {
  return {
    Gemm: (graph, x) => gemm(graph, x, graph.weight('w', [rows, columns]), graph.weight('b', [rows])),
    'MatMul, Add': (graph, x) => add(graph, matMul(graph, x, graph.weight('w', [columns, rows])), graph.weight('b', [rows])),
  }
}

async function operators(): Promise<void> {
  const cases: readonly (readonly [string, readonly number[], Readonly<Record<string, Body>>])[] = [
    ['Linear 512 × 512 → 512', [512, 512], linear(512, 512)],
    ['Linear 128 × 256 → 2,048', [128, 256], linear(256, 2048)],
    ['Linear 32 × 256 → 256', [32, 256], linear(256, 256)],
    [
      'SiLU of 2 × 320 × 32 × 32',
      [2, 320, 32, 32],
      { QuickGelu: (graph, x) => quickGelu(graph, x, 1), 'Sigmoid, Mul': (graph, x) => mul(graph, x, sigmoid(graph, x)) },
    ],
    [
      'attention, 256 tokens, 4 heads of 64',
      [2, 256, 256],
      {
        MultiHeadAttention: (graph, x) => multiHeadAttention(graph, { query: x, key: x, value: x }, 4),
        'MatMul, Softmax, MatMul': (graph, x) => {
          const scores = softmax(graph, matMul(graph, heads(graph, x, 4), heads(graph, x, 4, true)))
          return reshape(graph, transpose(graph, matMul(graph, scores, heads(graph, x, 4)), [0, 2, 1, 3]), x.dims)
        },
      },
    ],
  ]
  for (const [name, dims, forms] of cases) {
    const timed: Record<string, Timed> = {}
    for (const [form, body] of Object.entries(forms)) timed[form] = await operator(dims, body)
    console.log(`${name}: ${(await measure(timed)).join(', ')} ms`)
  }
}

async function networks(only: string | undefined, exported: string | undefined): Promise<void> {
  const bundled = fileURLToPath(new URL('../public/models/aquatint-emoji/unet/config.json', import.meta.url))
  const unets = {
    'bundled-unet': JSON.parse(readFileSync(bundled, 'utf8')) as Config,
    'sdxl-unet': counted['sdxl-unet'].config,
  }
  for (const [name, config] of Object.entries(unets)) {
    if (only !== undefined && only !== name) continue
    const model = networkDefinition('UNet2DConditionModel').fromConfig(config)
    const shapes = model.shapes({ height: 16, width: 16 })
    const [batch = 2, tokens = 77, width = 0] = shapes['encoder_hidden_states'] ?? []
    const forms: Record<string, Timed> = {}
    if (exported !== undefined) forms['the ONNX file'] = await prepareFile(exported)
    for (const count of exported === undefined ? [tokens, 1] : [tokens]) {
      const { stages } = model.write({ ...shapes, encoder_hidden_states: [batch, count, width] }, options)
      forms[`keys and values of ${count} tokens, once a generation,`] = await prepare(stages.find(({ once }) => once === true))
      forms[`a step with ${count} tokens`] = await prepare(stages.find(({ once }) => once !== true))
    }
    console.log(`${name}, batch ${batch}, latents 16 × 16: ${(await measure(forms)).join(', ')} ms`)
  }
}

export async function main(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({ args: [...args], options: { network: { type: 'string' }, export: { type: 'string' } } })
  ort.env.wasm.numThreads = 1
  if (values.network === undefined) await operators()
  await networks(values.network, values.export)
}
