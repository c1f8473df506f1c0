/** For tests: one operator, or a few, as a graph of its own on a device, and how far two results differ. Not part of the library. */

import { BoundNetwork } from '../runtime/bound-network.js'
import type { Device } from '../runtime/device.js'
import type { HostTensor } from '../runtime/types.js'
import { elementCount } from '../util/element-count.js'
import { float16ToFloat32, float32ToFloat16 } from '../util/half.js'
import { ComponentBuilder } from './component-builder.js'
import type { GraphBuilder } from './graph-builder.js'
import type { ValueInfo } from './types.js'

/** Values of a graph, by name. */
export type NamedValues = Readonly<Record<string, ValueInfo>>

/** Operators under test. */
export interface OperatorCase {
  /** The inputs of the operators. Floats are rounded to float16, so that both types compute with the same numbers. */
  readonly inputs: Readonly<Record<string, HostTensor>>
  /** Adds the operators to a graph and returns their results, by name. */
  readonly body: (graph: GraphBuilder, inputs: NamedValues) => NamedValues
}

/** Normal random numbers in float32, equal for equal seeds. */
export function normals(count: number, seed: number): Float32Array<ArrayBuffer> {
  // mulberry32 and Box-Muller: torch's generator would take most of the time of a test.
  let state = (seed + 1) * 0x9e37_79b9
  const uniform = (): number => {
    state = (state + 0x6d2b_79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  return Float32Array.from({ length: count }, () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform()))
}

/** A tensor of normal random numbers, each exact in float16. `scale`: their standard deviation. */
export function randomTensor(dims: readonly number[], seed: number, scale = 1): HostTensor {
  const values = normals(elementCount(dims), seed).map((value) => value * scale)
  return { type: 'float32', dims, data: float16ToFloat32(float32ToFloat16(values)) }
}

/** A tensor of random bytes: codes of quantized weights. */
export function randomBytes(dims: readonly number[], seed: number): HostTensor {
  return { type: 'uint8', dims, data: Uint8Array.from(normals(elementCount(dims), seed), (value) => Math.round(value * 2 ** 20)) }
}

/** Computes a case on a device in one type, and returns its results in float32. */
export async function compute(
  device: Device,
  { inputs, body }: OperatorCase,
  dtype: 'float32' | 'float16' = 'float32',
): Promise<Readonly<Record<string, Float32Array>>> {
  const network = new BoundNetwork({
    name: 'operators',
    device,
    table: new Map(),
    shapes: Object.fromEntries(Object.entries(inputs).map(([name, { dims }]) => [name, dims])),
    graph: () => {
      const builder = new ComponentBuilder('operators', device.writeOptions({ dtype, granularity: 'component' }))
      const given = Object.fromEntries(
        Object.entries(inputs).map(([name, { type, dims }]) => [
          name,
          builder.input(name, type === 'float32' ? builder.options.dtype : type, dims),
        ]),
      )
      const results = builder.stage('operators', given, body)
      for (const [name, value] of Object.entries(results)) builder.output(name, value)
      return builder.finish()
    },
  })
  try {
    const results = Object.entries(await network.run(inputs))
    // Read all results at the same time, because Firefox looks for finished reads only ten times a second.
    const read = await Promise.all(results.map(async ([name, tensor]) => [name, await tensor.read()] as const))
    for (const [, tensor] of results) tensor.dispose()
    return Object.fromEntries(read)
  } finally {
    await network.dispose()
  }
}

/** The root mean square of the difference, divided by that of the expected values. Infinity where a value is NaN or missing. */
export function relativeError(actual: Float32Array | undefined, expected: Float32Array): number {
  if (actual?.length !== expected.length) return Number.POSITIVE_INFINITY
  let [difference, size] = [0, 0]
  for (const [i, value] of expected.entries()) {
    difference += ((actual[i] ?? Number.NaN) - value) ** 2
    size += value ** 2
  }
  const error = Math.sqrt(difference / size)
  return Number.isNaN(error) ? Number.POSITIVE_INFINITY : error
}
