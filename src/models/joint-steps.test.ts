/** Checks the condition of src/runtime/webgpu/kernels/joint-steps.ts: if a GPU computes a product or a norm and the next operators in one dispatch, nothing else reads the results that it does not write. */

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

/** How many operators of a published network are computed in the dispatch of the operator before them. */
function countSteps(file: string, granularity: 'component' | 'block'): number {
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
    type Call = (typeof calls)[number]
    // Each graph has names of its own, so values are compared, not names.
    const readers = new Map<unknown, readonly Call[]>()
    for (const call of calls) for (const input of call.spec.inputs) readers.set(input, [...(readers.get(input) ?? []), call])
    /** A Reshape has the values of its input. */
    const all = (value: unknown): readonly (readonly [Call, unknown])[] =>
      (readers.get(value) ?? []).flatMap((call) => (call.spec.op === 'Reshape' ? all(call.outputs[0]) : [[call, value] as const]))
    const isStep = ([{ spec }, value]: readonly [Call, unknown]) =>
      ['Add', 'Cast', 'Gelu'].includes(spec.op) || (spec.op === 'Mul' && spec.inputs[0] === value)
    const makers = new Map<unknown, Call>()
    for (const call of calls) for (const output of call.outputs) makers.set(output, call)
    /** Whether an operator needs the result of another, at any distance. What it needs is written before it. */
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
    const follow = (value: unknown): void => {
      const next = all(value)
      // An operator that needs another reader of the value cannot be the next one that is computed.
      const steps = next.filter((one) => isStep(one) && !next.some(([other]) => needs(one[0], other)))
      if (steps.length === 0) return
      // Two uses by one operator are two readers.
      expect(next.map(([{ spec }]) => spec.op)).toHaveLength(1)
      expect(isOutput.has(value)).toBe(false)
      count++
      follow(steps[0]?.[0].outputs[0])
    }
    for (const { spec, outputs } of calls) if (producers.has(spec.op)) follow(outputs[0])
    return count
  } finally {
    nodes.mockRestore()
    outputs.mockRestore()
  }
}

test('no other operator reads the results that a joint kernel does not write', () => {
  const counts = readdirSync(folder).map((file) => [file, countSteps(file, 'component')] as const)
  expect(Object.fromEntries(counts)).toMatchObject({
    'sdxl-unet.json': 89,
    'sd15-unet.json': 38,
    'sd3-medium-transformer.json': 718,
    'flux-dev-transformer.json': 1190,
    't5-xxl-encoder.json': 216,
  })
  for (const [file, count] of counts) expect(countSteps(file, 'block')).toBe(count)
})
