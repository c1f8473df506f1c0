/** The page of `npm run bench:first-picture`: loads a pipeline on the GPU, runs a generation until its second step, and measures what the first step waits for. */

import { loadPipeline } from '../../src/pipelines/diffusion-pipeline.js'

/** The model to load, and how to load it. */
export interface StartRequest {
  readonly endpoint: string
  readonly repo: string
  /** Whether kernels are compiled while weights download. */
  readonly prepares: boolean
}

/** Milliseconds that the first step waits for, and the kernels that were compiled. */
export interface Start {
  /** Milliseconds until the pipeline is loaded and its weights are in the cache. */
  readonly download: number
  /** Milliseconds to upload, from the cache to the GPU, the networks that the first step needs. */
  readonly upload: number
  /** How much longer the first run of these networks takes than a later run. */
  readonly compile: number
  /** Milliseconds to encode the prompt and compute a step, with everything compiled and on the GPU. */
  readonly run: number
  /** The sum of these times. */
  readonly total: number
  /** Compute pipelines that were compiled before all weights had arrived. */
  readonly before: number
  /** Compute pipelines that the generation compiled, until its second step. */
  readonly after: number
}

let compiled = 0

function countPipelines(): void {
  for (const method of ['createComputePipeline', 'createComputePipelineAsync'] as const) {
    const own: unknown = Object.getOwnPropertyDescriptor(GPUDevice.prototype, method)?.value
    if (typeof own !== 'function') throw new TypeError(`There is no method ${method}`)
    Object.defineProperty(GPUDevice.prototype, method, {
      configurable: true,
      value(this: GPUDevice, ...args: readonly unknown[]): unknown {
        compiled++
        return Reflect.apply(own, this, args)
      },
    })
  }
}

type Pipeline = Awaited<ReturnType<typeof loadPipeline>>

/**
 * Returns the milliseconds from the call to the end of the first step, and how many of them uploads took. Ends the generation after the
 * second step.
 */
async function untilFirstStep(pipeline: Pipeline, prompt: string): Promise<{ readonly total: number; readonly upload: number }> {
  const begun = performance.now()
  const uploads = new Map<string, { readonly first: number; last: number }>()
  const ended = new AbortController()
  const seen: { total?: number; upload?: number } = {}
  const generation = pipeline.generate(prompt, {
    numInferenceSteps: 3,
    signal: ended.signal,
    onProgress: (progress) => {
      if (progress.type !== 'weights') return
      const now = performance.now()
      const upload = uploads.get(progress.component) ?? { first: now, last: now }
      upload.last = now
      uploads.set(progress.component, upload)
    },
    onStep: ({ step }) => {
      if (step === 1) ended.abort()
      if (step > 0) return
      seen.total = performance.now() - begun
      seen.upload = [...uploads.values()].reduce((sum, { first, last }) => sum + last - first, 0)
    },
  })
  try {
    await generation
  } catch (error) {
    if (!ended.signal.aborted) throw error
  }
  const { total, upload } = seen
  if (total === undefined || upload === undefined) throw new Error('The generation had no step')
  return { total, upload }
}

async function start({ endpoint, repo, prepares }: StartRequest): Promise<Start> {
  const begun = performance.now()
  compiled = 0
  const pipeline = await loadPipeline(repo, { endpoint, device: 'webgpu', prepareFor: prepares ? {} : null })
  const download = performance.now() - begun
  const before = compiled
  const first = await untilFirstStep(pipeline, 'a red apple on a blue background')
  const after = compiled - before
  // This run has another prompt, so that it cannot reuse results of the first run.
  const later = await untilFirstStep(pipeline, 'a blue apple on a red background')
  await pipeline.dispose()
  const run = later.total - later.upload
  return {
    download,
    upload: first.upload,
    compile: first.total - first.upload - run,
    run,
    total: download + first.total,
    before,
    after,
  }
}

countPipelines()
Object.assign(globalThis, { start })
