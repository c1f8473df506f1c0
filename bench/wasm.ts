/**
 * `npm run bench:wasm`: the time that onnxruntime's WebAssembly build takes for an operator in two forms, and for whole UNets with random weights, on one thread.
 * The figures are milliseconds of CPU time, the least of some rounds in which the forms alternate, so that other processes disturb them little.
 *
 * `-- --network NAME [--export FILE.onnx] [--python PYTHON]`: only that UNet, beside an ONNX file of the same network
 * (bench/kernels/export.py writes one) and beside PyTorch, in turn, in as many rounds as `--rounds` says. `-- --threads`: a picture in
 * Chromium on one thread and on all (wasm/threads.ts).
 */

import { parseArgs } from 'node:util'
import * as ort from 'onnxruntime-web/wasm'
import { ComponentBuilder } from '../src/onnx/component-builder.js'
import type { GraphBuilder } from '../src/onnx/graph-builder.js'
import { add, matMul, mul, quickGelu, softmax } from '../src/onnx/ops-math.js'
import { gemm, multiHeadAttention } from '../src/onnx/ops-network.js'
import { reshape, transpose } from '../src/onnx/ops-shape.js'
import type { ValueInfo } from '../src/onnx/types.js'
import { compare } from './wasm/compare.js'
import { prepare, type Timed } from './wasm/sessions.js'
import { compareThreads } from './wasm/threads.js'
import { unets, unetStages, writing } from './wasm/unets.js'

/** The number of rounds in which operators are timed. */
const operatorRounds = 5

type Body = (graph: GraphBuilder, x: ValueInfo) => ValueInfo

function sigmoid(graph: GraphBuilder, x: ValueInfo): ValueInfo {
  const [result = x] = graph.node({ op: 'Sigmoid', inputs: [x], outputs: [{ type: x.type, dims: x.dims }] })
  return result
}

function operator(dims: readonly number[], body: Body): Promise<Timed> {
  const component = new ComponentBuilder('operator', writing)
  const given = component.input('x', 'float32', dims)
  const { y } = component.stage('operator', { x: given }, (graph, { x }) => ({ y: body(graph, x) }))
  component.output('y', y)
  return prepare(component.finish().stages[0])
}

/** The least of the times of each form; the first run of each is not counted. */
async function measure(forms: Readonly<Record<string, Timed>>): Promise<string[]> {
  const least: Record<string, number> = {}
  for (let round = 0; round <= operatorRounds; round++) {
    for (const [name, run] of Object.entries(forms)) {
      const { cpu: time } = await run()
      if (round > 0) least[name] = Math.min(least[name] ?? Number.POSITIVE_INFINITY, time)
    }
  }
  return Object.entries(least).map(([name, time]) => `${name} ${time.toFixed(2)}`)
}

/** Splits tokens into heads: [batch, tokens, heads · size] → [batch, heads, tokens, size], or with `keys` [batch, heads, size, tokens]. */
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

async function networks(): Promise<void> {
  for (const name of Object.keys(unets)) {
    const forms: Record<string, Timed> = {}
    for (const count of [77, 1]) {
      const stages = unetStages(name, count)
      forms[`keys and values of ${count} tokens, once a generation,`] = await prepare(stages.find(({ once }) => once === true))
      forms[`a step with ${count} tokens`] = await prepare(stages.find(({ once }) => once !== true))
    }
    console.log(`${name}, batch 2, latents 16 × 16: ${(await measure(forms)).join(', ')} ms`)
  }
}

export async function main(args: readonly string[]): Promise<void> {
  const option = { type: 'string' } as const
  const { values } = parseArgs({
    args: [...args],
    options: {
      network: option,
      export: option,
      python: option,
      threads: { type: 'boolean' },
      rounds: { ...option, default: '40' },
    },
  })
  const { network, export: exported, python } = values
  const rounds = Number(values.rounds)
  if (values.threads === true) return compareThreads(rounds)
  if (network !== undefined) return compare({ network, exported, python, rounds })
  ort.env.wasm.numThreads = 1
  await operators()
  await networks()
}
