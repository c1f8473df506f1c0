/** Checks that only the next sum reads such a product, because a GPU computes both in one kernel (src/runtime/webgpu/kernels/joint-sum.ts). */

import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test, vi } from 'vitest'
import { GraphBuilder } from '../onnx/graph-builder.js'
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

/** In the networks of all published models: how many products are added to something. */
function countSums(file: string): number {
  const { _class_name: className, config } = readJson(join(folder, file)) as {
    readonly _class_name: string
    readonly config: Config
  }
  const nodes = vi.spyOn(GraphBuilder.prototype, 'node')
  try {
    const definition = networkDefinition(className)
    graphFor(definition, config, sizes[definition.role], { dtype: 'float16', weights: 'input', granularity: 'block' })
    const calls = nodes.mock.calls.map(([spec], index) => ({ spec, outputs: nodes.mock.results[index]?.value ?? [] }))
    // Each graph has names of its own, so values are compared, not names.
    const readers = new Map<unknown, typeof calls>()
    for (const call of calls) for (const input of call.spec.inputs) readers.set(input, [...(readers.get(input) ?? []), call])
    /** A Reshape has the values of its input. */
    const all = (value: unknown): typeof calls =>
      (readers.get(value) ?? []).flatMap((call) => (call.spec.op === 'Reshape' ? all(call.outputs[0]) : call))
    const added = calls
      .filter(({ spec }) => spec.op === 'Gemm')
      .map(({ outputs }) => all(outputs[0]))
      .filter((next) => next.some(({ spec }) => spec.op === 'Add'))
    for (const next of added) expect(next).toHaveLength(1)
    return added.length
  } finally {
    nodes.mockRestore()
  }
}

test('nothing else reads a product that is added to something', () => {
  const counts = readdirSync(folder).map((file) => [file, countSums(file)] as const)
  expect(Object.fromEntries(counts)).toMatchObject({ 'sdxl-unet.json': 89, 'sd15-unet.json': 38 })
})
