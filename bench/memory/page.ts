/** The page of the memory benchmarks: generates images through the public API, and runs single networks in a worker of their own. */
import { DiffusionPipeline, type PipelineProgress } from '../../src/index.js'
import type { MemorySnapshot } from '../../src/runtime/types.js'
import type { NetworkResult } from './protocol.js'

window.makeImage = async ({ repo, size, steps, guidanceScale, images, timeSteps, maxMemory, ...options }) => {
  let memory: MemorySnapshot | undefined
  const onProgress = (progress: PipelineProgress) => {
    if (progress.type === 'memory') memory = progress.memory
  }
  const load = () =>
    DiffusionPipeline.fromPretrained(repo, { ...options, ...(maxMemory === undefined ? {} : { maxMemory }), onProgress })
  const began = performance.now()
  await (await load()).dispose()
  const loadSeconds = secondsSince(began)
  const again = performance.now()
  const pipeline = await load()
  const reloadSeconds = secondsSince(again)
  try {
    const { info } = pipeline
    const plan = await DiffusionPipeline.plan(repo, { ...options, maxMemory, width: size, height: size, guidanceScale })
    const planned = plan.devices[options.device]
    if (planned === undefined) throw new Error('The plan has nothing on the device')
    const streamedBytes = planned.components.reduce((sum, part) => sum + part.streamedBytes, 0)
    const warnings = new Set<string>()
    const generate = async (numInferenceSteps: number) => {
      const start = performance.now()
      const { images: made, warnings: told } = await pipeline.generate('a red boat on a lake', {
        width: size,
        height: size,
        numInferenceSteps,
        ...(guidanceScale === undefined ? {} : { guidanceScale }),
        seed: 5,
        onProgress,
      })
      for (const warning of told) warnings.add(warning)
      return { seconds: secondsSince(start), pixels: hash(made[0]?.data ?? new Uint8ClampedArray()) }
    }
    const imageSeconds: number[] = []
    let pixels: number | undefined
    while (imageSeconds.length < images) {
      const made = await generate(steps)
      imageSeconds.push(made.seconds)
      pixels ??= made.pixels
      if (made.pixels !== pixels) throw new Error('The same seed gave another image')
    }
    const single = timeSteps === true ? await generate(1) : undefined
    const stepSeconds = single === undefined ? undefined : ((imageSeconds.at(-1) ?? 0) - single.seconds) / (steps - 1)
    if (memory === undefined || pixels === undefined) throw new Error('The pipeline reported no memory')
    const weightBytes = Object.values(info.components).reduce((sum, { bytes }) => sum + bytes, 0)
    const { description: device } = info.device
    const times = { loadSeconds, reloadSeconds, imageSeconds, stepSeconds }
    return {
      device,
      planned: { residence: planned.residence, peakBytes: planned.peakBytes, streamedBytes },
      computes: info.dtype,
      weightBytes,
      ...times,
      memory,
      pixels,
      warnings: [...warnings],
    }
  } finally {
    await pipeline.dispose()
  }
}

function secondsSince(start: number): number {
  return (performance.now() - start) / 1000
}

/** The FNV-1a hash of the bytes. */
function hash(bytes: Uint8ClampedArray): number {
  let value = 0x811c_9dc5
  for (const byte of bytes) value = Math.imul(value ^ byte, 0x0100_0193) >>> 0
  return value
}

window.runNetwork = async (request) => {
  const worker = new Worker(new URL('worker.ts', import.meta.url), { type: 'module' })
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
