/**
 * How exact networks are in float16: judge.py writes a network with random weights and the output of diffusers' module in float32, and the GPU computes
 * the same. Errors are root mean squares, relative to that of the output.
 */

import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { DiskRepository } from '../../cli/disk-repository.js'
import { readSafetensorsHeader } from '../../src/checkpoint/safetensors.js'
import type { DeviceKind, KernelSource } from '../../src/memory/device-info.js'
import { bindNetwork, type Network } from '../../src/pipelines/bind-network.js'
import { openDevice } from '../../src/runtime/open-device.js'
import type { HostTensor } from '../../src/runtime/types.js'
import { readNetwork, type NetworkSource } from './networks.js'

/** The reference that judge.py computed. */
interface Reference {
  readonly inputs: Readonly<Record<string, HostTensor>>
  readonly output: string
  readonly expected: Float32Array
  /** The error of PyTorch in float16. */
  readonly pytorch: number
}

/** The errors of a network: of PyTorch in float16, and of Aquatint with each kind of kernels. */
export interface Errors {
  readonly pytorch: number
  readonly aquatint: number
  readonly onnxruntime: number
}

/** Lets judge.py write a network of networks.json, and measures its errors. The files take up to 6 GB in the system's temporary folder meanwhile. */
export async function measureErrors(python: string, kind: DeviceKind, { name }: NetworkSource): Promise<Errors> {
  const folder = await mkdtemp(`${tmpdir()}/aquatint-judge-`)
  try {
    await promisify(execFile)(python, [fileURLToPath(new URL('judge.py', import.meta.url)), name, folder])
    const repository = new DiskRepository(folder)
    const network = await readNetwork(repository)
    const reference = await readReference(repository)
    const errorOf = (kernels: KernelSource) => run(network, reference, kind, kernels)
    const errors = {
      pytorch: reference.pytorch,
      aquatint: await errorOf('aquatint'),
      onnxruntime: await errorOf('onnxruntime'),
    }
    await repository.close()
    return errors
  } finally {
    await rm(folder, { recursive: true })
  }
}

async function readReference(repository: DiskRepository): Promise<Reference> {
  const file = 'reference.safetensors'
  const source = await repository.open(file)
  const { tensors, metadata } = await readSafetensorsHeader(source, file)
  const inputs: Record<string, HostTensor> = {}
  let found: Pick<Reference, 'output' | 'expected'> | undefined
  for (const [name, { shape, begin, end }] of tensors) {
    const data = new Float32Array((await source.read({ begin, end })).buffer)
    const [part, ...rest] = name.split('.')
    if (part === 'output') found = { output: rest.join('.'), expected: data }
    else inputs[rest.join('.')] = { type: 'float32', dims: shape, data }
  }
  if (found === undefined) throw new Error(`${file} has no output.`)
  return { inputs, ...found, pytorch: Number(metadata.get('pytorch')) }
}

async function run(network: Network, reference: Reference, kind: DeviceKind, kernels: KernelSource): Promise<number> {
  const device = await openDevice({ kind, kernels })
  try {
    const { granularity } = device.info.capabilities
    const component = bindNetwork(network, { device, dtype: 'float16', granularity, variantOf: () => ({}) })
    const outputs = await component.run(reference.inputs)
    const actual = (await outputs[reference.output]?.read()) ?? new Float32Array()
    for (const tensor of Object.values(outputs)) tensor.dispose()
    await component.dispose()
    return relativeError(actual, reference.expected)
  } finally {
    await device.dispose()
  }
}

function relativeError(actual: Float32Array, expected: Float32Array): number {
  let [difference, size] = [0, 0]
  for (const [i, value] of expected.entries()) {
    difference += ((actual[i] ?? Number.NaN) - value) ** 2
    size += value ** 2
  }
  return Math.sqrt(difference / size)
}
