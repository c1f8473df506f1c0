/** The page of the memory benches: images by the public API, and single networks in a worker of their own. */
import { DiffusionPipeline, type PipelineProgress } from '../../src/index.js'
import type { MemorySnapshot } from '../../src/runtime/types.js'
import type { NetworkResult } from '../../bench/memory/protocol.js'

window.makeImage = async ({ endpoint, repo, offload, maxMemory, size, steps }) => {
  let memory: MemorySnapshot | undefined
  const onProgress = (progress: PipelineProgress) => {
    if (progress.type === 'memory') memory = progress.memory
  }
  const began = performance.now()
  const pipeline = await DiffusionPipeline.fromPretrained(repo, {
    endpoint,
    device: 'webgpu',
    offload,
    ...(maxMemory === undefined ? {} : { maxMemory }),
    onProgress,
  })
  const loaded = performance.now()
  try {
    const generate = async () => {
      const { images } = await pipeline.generate('a red boat on a lake', {
        width: size,
        height: size,
        numInferenceSteps: steps,
        seed: 5,
        onProgress,
      })
      return hash(images[0]?.data ?? new Uint8ClampedArray())
    }
    const pixels = await generate()
    const first = performance.now()
    if ((await generate()) !== pixels) throw new Error('The same seed gave another image')
    const second = performance.now()
    if (memory === undefined) throw new Error('The pipeline told nothing of its memory')
    return {
      loadSeconds: (loaded - began) / 1000,
      firstSeconds: (first - loaded) / 1000,
      secondSeconds: (second - first) / 1000,
      memory,
      pixels,
    }
  } finally {
    await pipeline.dispose()
  }
}

/** FNV-1a of the bytes. */
function hash(bytes: Uint8ClampedArray): number {
  let value = 0x811c_9dc5
  for (const byte of bytes) value = Math.imul(value ^ byte, 0x0100_0193) >>> 0
  return value
}

window.runNetwork = async (request) => {
  const worker = new Worker(new URL('memory-worker.ts', import.meta.url), { type: 'module' })
  try {
    return await new Promise<NetworkResult>((resolve, reject) => {
      worker.addEventListener(
        'message',
        ({ data }: MessageEvent<{ result: NetworkResult } | { error: string } | { log: string }>) => {
          if ('result' in data) resolve(data.result)
          else if ('error' in data) reject(new Error(data.error))
          else console.log(data.log)
        },
      )
      worker.addEventListener('error', (event) => reject(new Error(event.message)))
      worker.postMessage(request)
    })
  } finally {
    worker.terminate()
  }
}
