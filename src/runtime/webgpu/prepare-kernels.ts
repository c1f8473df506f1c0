/**
 * Compiles programs and their kernels before their weights have arrived: each program runs once on buffers of the right sizes and with
 * any contents, because onnxruntime compiles a kernel when a run first needs it, not when it creates the session.
 */

import { valueBytes } from '../../checkpoint/element-types.js'
import { activationMargin } from '../../memory/needs.js'
import { storageBytes } from '../../memory/storage-bytes.js'
import type { Program, ValueInfo } from '../../onnx/types.js'
import { throwIfAborted } from '../../util/abort.js'
import type { OrtTensor } from '../onnxruntime.js'
import type { GpuRuntime } from './gpu-runtime.js'

/** What to compile, and for whom. */
export interface KernelRequest {
  readonly programs: Iterable<Program>
  /** The name under which the memory account counts the buffers. */
  readonly owner: string
  /** The object that uses the sessions, until it is passed to SessionCache.leave. */
  readonly user: object
  /** Bytes that may be in use on the device. For a program that would exceed them, only the session is created. */
  readonly maxBytes: number
  readonly signal: AbortSignal
}

/** Compiles the programs one after the other, each once. @throws DeviceError, AbortError */
export async function prepareKernels(
  device: GpuRuntime,
  { programs, owner, user, maxBytes, signal }: KernelRequest,
): Promise<void> {
  const done = new Set<string>()
  for (const program of programs) {
    if (done.has(program.key)) continue
    done.add(program.key)
    throwIfAborted(signal)
    await device.sessions.get(program, user, owner)
    throwIfAborted(signal)
    if (device.memory.snapshot().live + neededBytes(program) <= maxBytes) await runOnce(device, program, owner, user, signal)
    // Without this, the buffers of all programs would stay in the pool.
    device.buffers.trim()
  }
}

function neededBytes({ inputs, weights, outputs, activationBytes }: Program): number {
  const values = [...inputs, ...weights, ...outputs].reduce(
    (sum, { type, dims }) => sum + storageBytes(valueBytes(type, dims)),
    0,
  )
  return values + activationMargin * activationBytes
}

async function runOnce(device: GpuRuntime, program: Program, owner: string, user: object, signal: AbortSignal): Promise<void> {
  const session = await device.sessions.get(program, user, owner)
  const { Tensor } = device.runtime
  const made: GPUBuffer[] = []
  const bound = ({ type, dims }: ValueInfo): OrtTensor => {
    const buffer = device.buffers.createActivations(owner, valueBytes(type, dims))
    made.push(buffer)
    return Tensor.fromGpuBuffer(buffer, { dataType: type, dims })
  }
  const named = (values: readonly ValueInfo[]) => Object.fromEntries(values.map((info) => [info.name, bound(info)]))
  const use = { owner, doing: `compiling the kernels of ${owner}`, expected: activationMargin * program.activationBytes }
  try {
    const { verified } = await device.exclusively(
      use,
      async () => session.run({ ...named(program.inputs), ...named(program.weights) }, named(program.outputs)),
      signal,
    )
    await verified
    await device.orLost(device.buffers.submittedWorkDone())
  } finally {
    for (const buffer of made) buffer.destroy()
  }
}
