/** The worker of `npm run bench:load`: fills the cache, and reads it in three ways: plain chunks, tensors, and tensors into GPU buffers. */

import type { TensorEntry } from '../../src/checkpoint/types.js'
import { Hub } from '../../src/hub/hub.js'
import { openRepository } from '../../src/hub/repositories/open-repository.js'
import { openShardCache } from '../../src/hub/cache/shard-cache.js'
import { defaultSettings } from '../../src/hub/settings.js'
import { streamWeights } from '../../src/runtime/weight-stream.js'

/** The bytes that are written to the queue before the worker waits for it, as in the runtime. */
const queuedBytes = 64 << 20

/** GPUBufferUsage.STORAGE and COPY_DST. */
const storageUsage = 0x80
const copyUsage = 0x8

/** The bytes of one tensor, similar to SDXL's larger ones. */
const tensorBytes = 32 << 20

const methods: Record<string, (...args: string[]) => Promise<number>> = {
  /** Downloads a repository's files. Returns their bytes. */
  async fill(id, endpoint) {
    const repository = await openRepository(await Hub.open(), id ?? '', { endpoint })
    let bytes = 0
    for (const { path } of await repository.files()) bytes += (await repository.open(path)).byteLength
    return bytes
  },
  /** Reads every stored chunk once, one after the other, and drops it. Returns the bytes. */
  async readPlainly() {
    const store = await openShardCache(defaultSettings)
    let bytes = 0
    for (const file of await store.chunkFiles()) {
      for (const index of await store.chunkIndexes(file))
        bytes += (await (await store.chunk(file, index))?.arrayBuffer())?.byteLength ?? 0
    }
    return bytes
  },
  /** Opens the repository from the cache, reads it as the runtime does, and drops the bytes. Returns their number. */
  readTensors: (id, endpoint) => loadTensors(id ?? '', endpoint ?? ''),
  /** Reads the tensors as `readTensors` does, and writes their bytes to GPU buffers, which it keeps. */
  async loadToGpu(id, endpoint) {
    const adapter = await navigator.gpu.requestAdapter()
    if (adapter === null) throw new Error('There is no GPU adapter')
    return loadTensors(id ?? '', endpoint ?? '', await adapter.requestDevice())
  },
}

async function loadTensors(id: string, endpoint: string, device?: GPUDevice): Promise<number> {
  const repository = await openRepository(await Hub.open(), id, { endpoint })
  let bytes = 0
  let queued = 0
  for (const { path } of await repository.files()) {
    const source = await repository.open(path)
    const wanted = []
    for (let begin = 0; begin < source.byteLength; begin += tensorBytes) {
      const end = Math.min(source.byteLength, begin + tensorBytes)
      const entry: TensorEntry = { name: `${path} ${begin}`, dtype: 'F16', shape: [(end - begin) / 2], source, begin, end }
      wanted.push({
        entry,
        type: 'float16' as const,
        buffer: device?.createBuffer({ size: end - begin, usage: storageUsage | copyUsage }),
      })
    }
    await streamWeights(wanted, async (piece) => {
      bytes += piece.bytes.length
      if (device === undefined || piece.wanted.buffer === undefined) return
      device.queue.writeBuffer(piece.wanted.buffer, piece.byteOffset, piece.bytes)
      queued += piece.bytes.length
      if (queued < queuedBytes) return
      queued = 0
      await device.queue.onSubmittedWorkDone()
    })
  }
  await device?.queue.onSubmittedWorkDone()
  return bytes
}

interface Call {
  readonly id: number
  readonly method: string
  readonly args: string[]
}

async function answer({ id, method, args }: Call): Promise<void> {
  try {
    const began = performance.now()
    const bytes = await methods[method]?.(...args)
    postMessage({ id, value: { bytes, seconds: (performance.now() - began) / 1000 } })
  } catch (error) {
    postMessage({ id, error: String(error) })
  }
}

addEventListener('message', ({ data }: MessageEvent<Call>) => void answer(data))
