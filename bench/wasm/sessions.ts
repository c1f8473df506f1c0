/** Times runs of ONNX models on onnxruntime-web's WebAssembly build in Node. Inputs and the weights of Aquatint's graphs are made up. */

import { readFileSync } from 'node:fs'
import * as ort from 'onnxruntime-web/wasm'
import type { Stage } from '../../src/onnx/types.js'
import { elementCount } from '../../src/util/element-count.js'

/** Milliseconds of CPU time of one run. */
export interface Taken {
  readonly cpu: number
}

/** Runs a session once. */
export type Timed = () => Promise<Taken>

function numbers(dims: readonly number[]): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length: elementCount(dims) }, (_, i) => Math.sin(i * 1.7) * 0.05)
}

/** Opens a session for a stage of one of Aquatint's graphs. The returned function runs the session. */
export async function prepare(stage: Stage | undefined): Promise<Timed> {
  if (stage === undefined) throw new Error('The graph is empty')
  const { program } = stage
  const session = await ort.InferenceSession.create(program.model, {
    externalData: program.weights.map(({ name, dims }) => ({ path: name, data: new Uint8Array(numbers(dims).buffer) })),
    logSeverityLevel: 3,
  })
  return timed(session, program.inputs)
}

/** Opens a session for an ONNX file that another tool exported. The returned function runs the session. */
export async function prepareFile(path: string): Promise<Timed> {
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
    return { cpu: (user + system) / 1000 }
  }
}
