/** Measures how far the output of a network on a GPU is from the output that judge.py computed. It runs in Node and in a browser. */

import { readSafetensorsHeader } from '../../src/checkpoint/safetensors.js'
import type { Repository } from '../../src/hub/types.js'
import type { DeviceKind, KernelSource } from '../../src/memory/device-info.js'
import type { NetworkModel } from '../../src/models/types.js'
import { bindNetwork } from '../../src/pipelines/bind-network.js'
import type { DTypeName, QuantizationName } from '../../src/pipelines/types.js'
import { openDevice } from '../../src/runtime/open-device.js'
import type { HostTensor } from '../../src/runtime/types.js'
import { readNetwork } from './read-network.js'

/** How a network is run. */
export interface ErrorForm {
  readonly kind: DeviceKind
  readonly kernels: KernelSource
  /** The type in which the network computes. */
  readonly dtype: DTypeName
  /** Default: the weights are as they are stored. */
  readonly quantization?: QuantizationName | undefined
}

/** A call of a network and its result in float32, which judge.py wrote. */
interface Reference {
  /**
   * Tensors by the names of the graph's inputs. The inputs that the host computes are missing; the arguments of diffusers' module, from which
   * the host computes these inputs, are there instead.
   */
  readonly inputs: ReadonlyMap<string, Named>
  readonly output: string
  readonly expected: Float32Array
}

type Named = HostTensor & { readonly data: Float32Array<ArrayBuffer> }

/** The name of the file with a call and its result. */
function referenceFile(quantization?: QuantizationName): string {
  return quantization === undefined ? 'reference.safetensors' : `reference-${quantization}.safetensors`
}

/** Returns the root mean square of a network's error, divided by that of its result in float32. */
export async function networkError(repository: Repository, { kind, kernels, dtype, quantization }: ErrorForm): Promise<number> {
  const network = await readNetwork(repository, quantization)
  const { inputs, output, expected } = await readReference(repository, referenceFile(quantization))
  const device = await openDevice({ kind, kernels })
  try {
    if (dtype === 'float16' && kind === 'webgpu' && !device.info.shaderF16) throw new Error('This GPU has no shader-f16.')
    const { granularity } = device.info.capabilities
    const component = bindNetwork(network, { device, dtype, granularity, variantOf: () => ({}) })
    const outputs = await component.run(graphInputs(network.model, inputs))
    const actual = (await outputs[output]?.read()) ?? new Float32Array()
    for (const tensor of Object.values(outputs)) tensor.dispose()
    await component.dispose()
    return relativeError(actual, expected)
  } finally {
    await device.dispose()
  }
}

async function readReference(repository: Repository, file: string): Promise<Reference> {
  const source = await repository.open(file)
  const { tensors } = await readSafetensorsHeader(source, file)
  const inputs = new Map<string, Named>()
  let found: Pick<Reference, 'output' | 'expected'> | undefined
  for (const [name, { shape, begin, end }] of tensors) {
    const data = new Float32Array((await source.read({ begin, end })).buffer)
    const [part, ...rest] = name.split('.')
    if (part === 'output') found = { output: rest.join('.'), expected: data }
    else inputs.set(rest.join('.'), { type: 'float32', dims: shape, data })
  }
  if (found === undefined) throw new Error(`${file} has no output.`)
  return { inputs, ...found }
}

/** Returns the inputs of the graph: those that are given, and those that the host computes from the arguments of diffusers' module. */
function graphInputs(model: NetworkModel, given: ReadonlyMap<string, Named>): Readonly<Record<string, HostTensor>> {
  const rest = new Map(given)
  const take = (name: string) => {
    const value = rest.get(name)
    rest.delete(name)
    return value
  }
  const [timestep, guidance, lengths, ids] = ['timestep', 'guidance', 'text_lengths', 'input_ids'].map(take)
  const own: Record<string, Omit<HostTensor, 'type'>> = {}
  if (model.role === 'text-encoder' && ids !== undefined) Object.assign(own, model.hostInputs(ids.data, ids.dims[1] ?? 0))
  if (model.role === 'denoiser' && timestep !== undefined) {
    const [batch = 0, , height = 0, width = 0] = given.get(model.latents.input)?.dims ?? []
    const [, sequenceLength = 0] = given.get('encoder_hidden_states')?.dims ?? []
    const sizes = { height, width, sequenceLength, textLengths: lengths && [...lengths.data] }
    Object.assign(own, model.stepInputs([...timestep.data]), model.positionInputs?.(sizes))
    if (guidance !== undefined) Object.assign(own, model.guidanceInputs?.(guidance.data[0] ?? 0, batch))
  }
  const computed = Object.entries(own).map(([name, value]) => [name, { type: 'float32' as const, ...value }])
  return { ...Object.fromEntries(rest), ...Object.fromEntries(computed) }
}

function relativeError(actual: Float32Array, expected: Float32Array): number {
  let [difference, size] = [0, 0]
  for (const [i, value] of expected.entries()) {
    difference += ((actual[i] ?? Number.NaN) - value) ** 2
    size += value ** 2
  }
  return Math.sqrt(difference / size)
}
