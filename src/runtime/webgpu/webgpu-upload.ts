/** Uploads tensors of a checkpoint into GPU buffers: it checks their sizes, makes the buffers and streams the bytes, all or nothing. */

import { DeviceError } from '../../errors.js'
import { throwIfAborted } from '../../util/abort.js'
import type { LoadOptions } from '../types.js'
import type { GpuRuntime } from './gpu-runtime.js'
import type { ProductWriter } from './lora-upload.js'
import { streamWeights } from '../weight-stream.js'
import { storageBytes } from '../../memory/storage-bytes.js'
import type { WeightKey } from '../../memory/needs.js'

/** Bytes written to the queue before waiting for it: this limits the copies that the browser keeps. */
const queuedBytes = 64 * 2 ** 20

/** Options of {@link uploadWeights}. */
export interface UploadOptions extends LoadOptions {
  /** Buffers that may be reused for tensors of their size. The upload removes all of them from the list. */
  readonly spare?: GPUBuffer[] | undefined
}

/**
 * Uploads `wanted` for `owner` and returns their buffers by key. If it fails, it destroys all of these buffers, including reused ones.
 * @throws DeviceError `out-of-memory`, `buffer-too-large`, `device-lost`, what the sources throw, AbortError
 */
export async function uploadWeights(
  device: GpuRuntime,
  owner: string,
  wanted: readonly WeightKey[],
  options: UploadOptions = {},
): Promise<Map<string, GPUBuffer>> {
  device.assertUsable()
  throwIfAborted(options.signal)
  for (const { bytes, entry } of wanted) checkBufferSize(entry.name, bytes, device.info.maxBufferSize)
  const made = new Map<string, GPUBuffer>()
  try {
    await device.orLost(fill(device, owner, wanted, made, options), options.signal)
    device.assertUsable()
    return made
  } catch (error) {
    for (const buffer of made.values()) buffer.destroy()
    throw error
  }
}

async function fill(
  device: GpuRuntime,
  owner: string,
  wanted: readonly WeightKey[],
  made: Map<string, GPUBuffer>,
  { signal, onProgress, spare = [] }: UploadOptions,
): Promise<void> {
  const { buffers } = device
  await makeBuffers(device, owner, wanted, made, spare)
  throwIfAborted(signal)
  const total = wanted.reduce((sum, { bytes }) => sum + bytes, 0)
  let loaded = 0
  let queued = 0
  const writer = await device.channelsLast.open(owner, wanted)
  let loras: ProductWriter | undefined
  try {
    loras = await device.loras.open(owner, wanted)
    if (total > 0) onProgress?.(0, total)
    await streamWeights(
      // For a fused weight, upload the checkpoint's values: the device adds the products.
      wanted.map((weight) => ({ ...weight, entry: weight.entry.fused?.base ?? weight.entry })),
      async ({ wanted: weight, byteOffset, bytes }) => {
        const buffer = made.get(weight.key)
        if (buffer === undefined) return
        if (writer !== undefined && weight.channelsLast !== undefined) writer.write(buffer, weight, byteOffset, bytes)
        else buffers.write(buffer, byteOffset, bytes)
        loaded += bytes.byteLength
        queued += bytes.byteLength
        if (queued >= queuedBytes) {
          queued = 0
          await buffers.submittedWorkDone()
        }
        onProgress?.(loaded, total)
      },
      signal,
    )
    for (const weight of wanted) {
      const buffer = made.get(weight.key)
      if (buffer === undefined) continue
      await loras?.add(buffer, weight, signal)
      throwIfAborted(signal)
      writer?.finish(buffer, weight)
    }
  } finally {
    writer?.destroy()
    loras?.destroy()
  }
}

/**
 * Reuses the buffers of `spare` that have the right size. Destroys the others before it makes the missing buffers, to keep the memory peak
 * low.
 */
async function makeBuffers(
  { buffers }: GpuRuntime,
  owner: string,
  wanted: readonly WeightKey[],
  made: Map<string, GPUBuffer>,
  spare: GPUBuffer[],
): Promise<void> {
  for (const { key, bytes } of wanted) {
    const at = spare.findIndex(({ size }) => size === storageBytes(bytes))
    const [reused] = at < 0 ? [] : spare.splice(at, 1)
    if (reused !== undefined) made.set(key, reused)
  }
  for (const buffer of spare.splice(0)) buffer.destroy()
  const missing = wanted.filter(({ key }) => !made.has(key))
  const refusals = missing.map(({ key, bytes }) => {
    const { buffer, refusal } = buffers.createWeights(owner, bytes)
    made.set(key, buffer)
    return refusal
  })
  const refusal = (await Promise.all(refusals)).find((error) => error !== undefined)
  if (refusal !== undefined) throw refusal
}

function checkBufferSize(tensor: string, bytes: number, allowed: number): void {
  if (bytes <= allowed) return
  const message = `Tensor ${tensor} takes ${bytes} bytes; a buffer of this GPU holds ${allowed}.`
  throw new DeviceError('buffer-too-large', message, { tensor, bytes, allowed })
}
