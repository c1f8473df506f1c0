/**
 * Checks a condition of src/runtime/webgpu/kernels/joint-steps.ts and joint-attention.ts. These kernels compute several operators in one
 * dispatch: a product or a norm with the next operators, or an attention with the Concat of its queries and the Split of its result. They
 * do not write the results between these operators, so no other operator may read them.
 */

import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test, vi } from 'vitest'
import { GraphBuilder } from '../onnx/graph-builder.js'
import type { ValueInfo } from '../onnx/types.js'
import type { Config } from '../checkpoint/types.js'
import { networkDefinition } from './registry.js'
import { graphFor } from './testing.js'
import { fixtures, readJson } from './testing.node.js'

const folder = join(fixtures, 'weight-tables')

const sizes = {
  'text-encoder': { batch: 1, sequenceLength: 77 },
  denoiser: { batch: 2, height: 64, width: 64, sequenceLength: 333 },
  autoencoder: { batch: 1, height: 64, width: 64 },
} as const

const producers: ReadonlySet<string> = new Set(['Gemm', 'LayerNormalization', 'SimplifiedLayerNormalization'])

/** The operators of a published network, in the order in which they are written. */
function graphOf(file: string, granularity: 'component' | 'block') {
  const { _class_name: className, config } = readJson(join(folder, file)) as {
    readonly _class_name: string
    readonly config: Config
  }
  const nodes = vi.spyOn(GraphBuilder.prototype, 'node')
  const outputs = vi.spyOn(GraphBuilder.prototype, 'output')
  try {
    const definition = networkDefinition(className)
    graphFor(definition, config, sizes[definition.role], { dtype: 'float16', weights: 'input', granularity })
    const isOutput = new Set<unknown>(outputs.mock.calls.map(([, value]) => value))
    const calls = nodes.mock.calls.map(([spec], index) => ({
      index,
      spec,
      outputs: (nodes.mock.results[index]?.value ?? []) as readonly ValueInfo[],
    }))
    // Two graphs can use the same name for different values, so values are compared as objects, not by name.
    const readers = new Map<unknown, readonly (typeof calls)[number][]>()
    for (const call of calls) for (const input of call.spec.inputs) readers.set(input, [...(readers.get(input) ?? []), call])
    const makers = new Map(calls.flatMap((call) => call.outputs.map((output): readonly [unknown, typeof call] => [output, call])))
    return { calls, isOutput, readers, makers }
  } finally {
    nodes.mockRestore()
    outputs.mockRestore()
  }
}

type Graph = ReturnType<typeof graphOf>
type Call = Graph['calls'][number]

/** The operators that read a value, each with the input by which it reads the value: the value itself, or the result of a Reshape of it. */
function readersOf({ readers }: Graph, value: unknown): readonly (readonly [Call, unknown])[] {
  const all = (one: unknown): readonly (readonly [Call, unknown])[] =>
    (readers.get(one) ?? []).flatMap((call) => (call.spec.op === 'Reshape' ? all(call.outputs[0]) : [[call, one] as const]))
  return all(value)
}

/** Whether an operator that reads a value can be computed in the dispatch that computes the value, element by element. */
function isStep([{ spec }, value]: readonly [Call, unknown]): boolean {
  return ['Add', 'Cast', 'Gelu'].includes(spec.op) || (spec.op === 'Mul' && spec.inputs[0] === value)
}

/** Values of a published network that a joint kernel does not write although the graph needs them. */
type Missing = string[]

/** How many operators of a published network are computed in the dispatch of the operator before them. */
function countSteps(graph: Graph, missing: Missing): number {
  const { calls, isOutput, makers } = graph
  /**
   * Whether an operator needs the result of `other`, directly or through operators in between. An operator is written after the operators
   * whose results it needs.
   */
  const needs = (call: Call, other: Call): boolean => {
    const seen = new Set<Call>([call])
    for (const one of seen)
      for (const input of one.spec.inputs) {
        const maker = makers.get(input)
        if (maker === other) return true
        if (maker !== undefined && maker.index > other.index) seen.add(maker)
      }
    return false
  }
  let count = 0
  const follow = (value: ValueInfo | undefined): void => {
    const next = readersOf(graph, value)
    // An operator that needs the result of another reader of the value cannot be computed in the same dispatch.
    const steps = next.filter((one) => isStep(one) && !next.some(([other]) => needs(one[0], other)))
    if (steps.length === 0) return
    // Two uses by one operator are two readers.
    if (next.length !== 1 || isOutput.has(value)) missing.push(value?.name ?? '')
    count++
    follow(steps[0]?.[0].outputs[0])
  }
  for (const { spec, outputs } of calls) if (producers.has(spec.op)) follow(outputs[0])
  return count
}

/** How many attentions of a published network have queries that are joined from two parts, and how many have a result that is split. */
function countParts(graph: Graph, missing: Missing): { readonly joined: number; readonly divided: number } {
  const { calls, isOutput, makers } = graph
  let [joined, divided] = [0, 0]
  const expectOneReader = (value: ValueInfo | undefined): void => {
    if (readersOf(graph, value).length !== 1 || isOutput.has(value)) missing.push(value?.name ?? '')
  }
  for (const { spec, outputs } of calls) {
    if (spec.op !== 'MultiHeadAttention') continue
    const [query] = spec.inputs
    if (makers.get(query)?.spec.op === 'Concat') {
      expectOneReader(query)
      joined++
    }
    if (readersOf(graph, outputs[0]).some(([reader]) => reader.spec.op === 'Split')) {
      expectOneReader(outputs[0])
      divided++
    }
  }
  return { joined, divided }
}

/** Counts the operators of a published network that a GPU computes in the dispatch of another operator. */
function count(file: string, granularity: 'component' | 'block') {
  const graph = graphOf(file, granularity)
  const missing: Missing = []
  return { steps: countSteps(graph, missing), ...countParts(graph, missing), missing }
}

test('no other operator reads the results that a joint kernel does not write', () => {
  const counts = readdirSync(folder).map((file) => [file, count(file, 'component')] as const)
  expect(Object.fromEntries(counts)).toMatchObject({
    'sdxl-unet.json': { steps: 89, joined: 0 },
    'sd15-unet.json': { steps: 38 },
    'sd3-medium-transformer.json': { steps: 718, joined: 24, divided: 24 },
    'flux-dev-transformer.json': { steps: 1190 },
    't5-xxl-encoder.json': { steps: 216 },
  })
  for (const [file, counted] of counts) {
    expect(counted.missing, file).toEqual([])
    expect(count(file, 'block'), file).toEqual(counted)
  }
})
