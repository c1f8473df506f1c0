/**
 * The engine and the client of the page together, over a real message channel: what they send and transfer, what a cancellation ends, and when
 * promises settle. The pipelines here are scripted; `client/engine-client.browser.test.ts` starts the real worker, and `e2e/slice.spec.ts` runs
 * real pipelines.
 */
import { afterEach, expect, test, vi } from 'vitest'
import { CheckpointError, HubError, isAquatintError } from '../errors.js'
import type { PipelineProgress } from '../pipelines/types.js'
import { DiffusionPipeline } from './client/diffusion-pipeline.js'
import { Engine } from './client/engine-client.js'
import type { EngineWorker } from './client/spawn-worker.js'
import { engineWith, info, nameOf, pipeline, result, untilAborted } from './testing.js'

afterEach(() => {
  vi.unstubAllGlobals()
})

test('an image, its seed and the info of the pipeline arrive', async () => {
  const { engine } = engineWith((repo) => Promise.resolve(pipeline({ info: { ...info, repo: nameOf(repo) } })))
  const loaded = await DiffusionPipeline.fromPretrained('me/model', { engine })
  expect(loaded.info).toEqual({ ...info, repo: 'me/model' })
  const { images, seed } = await loaded.generate('a cat', { seed: 7 })
  expect(seed).toBe(7)
  expect(images[0]).toMatchObject({ width: 1, height: 1, data: Uint8ClampedArray.of(1, 2, 3, 255) })
})

const pixel = () => ({ width: 1, height: 1, data: Uint8ClampedArray.of(1, 2, 3, 255) })

test('pixels, captured tensors and previews are transferred, not copied', async () => {
  const [made, preview, latents] = [pixel(), pixel(), Float32Array.of(4, 5)]
  const { engine } = engineWith(() =>
    Promise.resolve(
      pipeline({
        generate: async (_prompt, { onStep }) => {
          onStep({ step: 0, total: 1, timestep: 0, preview })
          // The same pixels twice: a buffer may be in the list of transfers only once.
          return { ...result(1), images: [made, made], captured: { latents: { dims: [2], data: latents } } }
        },
      }),
    ),
  )
  const previews: unknown[] = []
  const loaded = await DiffusionPipeline.fromPretrained('a/b', { engine })
  const output = await loaded.generate('x', { onStep: (step) => previews.push(step.preview) })
  expect(output.images).toMatchObject([pixel(), pixel()])
  expect(output.captured).toEqual({ latents: { dims: [2], data: Float32Array.of(4, 5) } })
  expect(previews).toEqual([pixel()])
  // A transferred array is empty at its sender.
  expect([made.data.length, preview.data.length, latents.length]).toEqual([0, 0, 0])
})

test('a generation can be iterated over its steps and awaited; it leaves the caller the pixels that it passed', async () => {
  const given = pixel()
  const received: unknown[] = []
  const { engine } = engineWith(() =>
    Promise.resolve(
      pipeline({
        generate: (_prompt, { onStep, image }) => {
          received.push(image)
          onStep({ step: 0, total: 2, timestep: 999 })
          onStep({ step: 1, total: 2, timestep: 1 })
          return Promise.resolve(result(7))
        },
      }),
    ),
  )
  const loaded = await DiffusionPipeline.fromPretrained('a/b', { engine })
  const generation = loaded.generate('x', { image: given })
  const steps: number[] = []
  for await (const { step } of generation) steps.push(step)
  expect(steps).toEqual([0, 1])
  expect((await generation).seed).toBe(7)
  expect(received).toEqual([pixel()])
  expect(given).toEqual(pixel())
})

test('paths relative to the page are made absolute, those of components too', async () => {
  vi.stubGlobal('document', { baseURI: 'https://site.example/app/index.html' })
  const seen: unknown[] = []
  const { engine } = engineWith((repo, { components }) => {
    seen.push(repo, components)
    return Promise.resolve(pipeline())
  })
  const vae = { repo: '/b', subfolder: 'vae' }
  await DiffusionPipeline.fromPretrained('./a', { engine, unet: '../b', components: { vae, text_encoder: 'me/clip' } })
  expect(seen).toEqual([
    'https://site.example/app/a',
    { unet: 'https://site.example/b', vae: { ...vae, repo: 'https://site.example/b' }, text_encoder: 'me/clip' },
  ])
})

test('kernels are prepared for the model’s own size, unless the caller names another one or none', async () => {
  const prepared: unknown[] = []
  const { engine } = engineWith((_, { prepareFor }) => {
    prepared.push(prepareFor)
    return Promise.resolve(pipeline())
  })
  for (const options of [{}, { prepareFor: undefined }, { prepareFor: { width: 64 } }, { prepareFor: null }])
    await DiffusionPipeline.fromPretrained('a/b', { engine, ...options })
  expect(prepared).toEqual([{}, {}, { width: 64 }, null])
})

test('misspelt options are refused before anything is loaded or made', async () => {
  let loads = 0
  const { engine } = engineWith(() => Promise.resolve((loads++, pipeline())))
  const misspelt = { engine, vaee: 'me/vae' }
  await expect(DiffusionPipeline.fromPretrained('a/b', misspelt)).rejects.toMatchObject({ code: 'unknown-option' })
  expect(loads).toBe(0)
  const loaded = await DiffusionPipeline.fromPretrained('a/b', { engine })
  const typo = { numInferenceStep: 3 }
  await expect(loaded.generate('x', { seed: 1, ...typo })).rejects.toMatchObject({
    code: 'unknown-option',
    details: { option: 'numInferenceStep' },
  })
})

test('events arrive in order, all of them before the result', async () => {
  const progress: PipelineProgress[] = [
    { type: 'status', phase: 'encoding' },
    { type: 'status', phase: 'denoising' },
    { type: 'status', phase: 'decoding' },
  ]
  const { engine } = engineWith(() =>
    Promise.resolve(
      pipeline({
        generate: (_prompt, { onProgress, onStep }) => {
          onProgress(progress[0]!)
          onProgress(progress[1]!)
          onStep({ step: 0, total: 1, timestep: 999, preview: { width: 1, height: 1, data: new Uint8ClampedArray(4) } })
          onProgress(progress[2]!)
          return Promise.resolve(result(0))
        },
      }),
    ),
  )
  const loaded = await DiffusionPipeline.fromPretrained('a/b', { engine })
  const seen: unknown[] = []
  await loaded.generate('x', {
    onProgress: (event) => seen.push(event),
    onStep: ({ step, preview }) => seen.push([step, preview?.data.length]),
  })
  expect(seen).toMatchObject([
    { ...progress[0], fraction: 0 },
    { ...progress[1], fraction: 0.05 },
    [0, 4],
    { type: 'step', step: 0, total: 1, fraction: 0.9 },
    { ...progress[2], fraction: 0.9 },
  ])
})

test('an error arrives with its class, code, details and cause', async () => {
  const { engine } = engineWith(() =>
    Promise.reject(
      new CheckpointError(
        'shape-mismatch',
        'Wrong shape.',
        { expected: [1, 2] },
        new HubError('server-error', 'Gone.', { status: 410 }),
      ),
    ),
  )
  const error = await DiffusionPipeline.fromPretrained('a/b', { engine }).catch((thrown: unknown) => thrown)
  expect(error).toBeInstanceOf(CheckpointError)
  expect(isAquatintError(error)).toBe(true)
  expect(error).toMatchObject({ name: 'CheckpointError', code: 'shape-mismatch', details: { expected: [1, 2] } })
  expect((error as Error).cause).toBeInstanceOf(HubError)
  expect((error as Error).cause).toMatchObject({ code: 'server-error', details: { status: 410 } })
})

test('cancelling rejects with the reason at once, and reaches the engine', async () => {
  let heard: AbortSignal | undefined
  const { engine } = engineWith((_repo, { signal }) => {
    heard = signal
    return untilAborted(signal)
  })
  const controller = new AbortController()
  const loading = DiffusionPipeline.fromPretrained('a/b', { engine, signal: controller.signal })
  await expect.poll(() => heard).toBeDefined()
  controller.abort()
  await expect(loading).rejects.toMatchObject({ name: 'AbortError' })
  await expect.poll(() => heard?.aborted).toBe(true)
  await expect(DiffusionPipeline.fromPretrained('a/b', { engine, signal: controller.signal })).rejects.toMatchObject({
    name: 'AbortError',
  })
})

test('a pipeline that finished loading after it was cancelled is disposed', async () => {
  let disposed = false
  const { engine } = engineWith(async (_repo, { signal }) => {
    await untilAborted(signal).catch(() => {})
    return pipeline({ dispose: () => Promise.resolve(void (disposed = true)) })
  })
  await expect(DiffusionPipeline.fromPretrained('a/b', { engine, signal: AbortSignal.timeout(1) })).rejects.toMatchObject({
    name: 'TimeoutError',
  })
  await expect.poll(() => disposed).toBe(true)
})

test('a pipeline whose loading was cancelled by its last event is disposed', async () => {
  let disposed = false
  const { engine } = engineWith((_repo, { onProgress }) => {
    onProgress({ type: 'status', phase: 'ready' })
    return Promise.resolve(pipeline({ dispose: () => Promise.resolve(void (disposed = true)) }))
  })
  const controller = new AbortController()
  await expect(
    DiffusionPipeline.fromPretrained('a/b', { engine, signal: controller.signal, onProgress: () => controller.abort() }),
  ).rejects.toMatchObject({ name: 'AbortError' })
  await expect.poll(() => disposed).toBe(true)
})

test('generations run one at a time; cancelling a waiting one does not let the next one overtake', async () => {
  const log: string[] = []
  const gates = new Map<string, () => void>()
  const { engine } = engineWith(() =>
    Promise.resolve(
      pipeline({
        generate: async (prompt) => {
          log.push(`begin ${String(prompt)}`)
          await new Promise<void>((resolve) => gates.set(String(prompt), resolve))
          log.push(`end ${String(prompt)}`)
          return result(0)
        },
      }),
    ),
  )
  const loaded = await DiffusionPipeline.fromPretrained('a/b', { engine })
  const cancel = new AbortController()
  const first = loaded.generate('1')
  const second = loaded.generate('2', { signal: cancel.signal })
  const third = loaded.generate('3')
  await expect.poll(() => gates.has('1')).toBe(true)
  cancel.abort()
  await expect(second).rejects.toMatchObject({ name: 'AbortError' })
  // Messages keep their order: once this call has returned, the engine has received the cancellation.
  await DiffusionPipeline.fromPretrained('a/b', { engine })
  gates.get('1')?.()
  await first
  await expect.poll(() => gates.has('3')).toBe(true)
  gates.get('3')?.()
  await third
  expect(log).toEqual(['begin 1', 'end 1', 'begin 3', 'end 3'])
})

test('dispose cancels running calls, then frees the pipeline; later calls reject', async () => {
  const log: string[] = []
  const { engine } = engineWith(() =>
    Promise.resolve(
      pipeline({
        generate: (_prompt, { signal, onStep }) => {
          onStep({ step: 0, total: 2, timestep: 1 })
          return untilAborted(signal).finally(() => log.push('ended'))
        },
        dispose: () => Promise.resolve(void log.push('disposed')),
      }),
    ),
  )
  const loaded = await DiffusionPipeline.fromPretrained('a/b', { engine })
  let began = false
  const generating = loaded.generate('x', { onStep: () => void (began = true) }).catch((error: unknown) => error)
  await expect.poll(() => began).toBe(true)
  await loaded.dispose()
  expect(log).toEqual(['ended', 'disposed'])
  expect(await generating).toMatchObject({ name: 'AbortError' })
  await expect(loaded.generate('x')).rejects.toMatchObject({ code: 'pipeline-disposed' })
})

test('dispose does not wait for the generations of other pipelines', async () => {
  const log: string[] = []
  const { engine } = engineWith((repo) =>
    Promise.resolve(
      pipeline({
        generate: (_prompt, { signal, onStep }) => {
          onStep({ step: 0, total: 2, timestep: 1 })
          return untilAborted(signal)
        },
        dispose: () => Promise.resolve(void log.push(`disposed ${nameOf(repo)}`)),
      }),
    ),
  )
  const [busy, waiting] = [
    await DiffusionPipeline.fromPretrained('a/busy', { engine }),
    await DiffusionPipeline.fromPretrained('a/waiting', { engine }),
  ]
  let began = false
  const running = busy.generate('x', { onStep: () => void (began = true) }).catch((error: unknown) => error)
  await expect.poll(() => began).toBe(true)
  const queued = waiting.generate('y').catch((error: unknown) => error)
  await waiting.dispose()
  expect(await queued).toMatchObject({ name: 'AbortError' })
  expect(log).toEqual(['disposed a/waiting'])
  await busy.dispose()
  expect(await running).toMatchObject({ name: 'AbortError' })
})

test('terminate() rejects all calls; the next call starts a new worker and loads again', async () => {
  let hang = true
  let loads = 0
  const { engine, started } = engineWith((_repo) => {
    loads++
    return Promise.resolve(pipeline(hang ? { generate: (_prompt, { signal }) => untilAborted(signal) } : {}))
  })
  const loaded = await DiffusionPipeline.fromPretrained('a/b', { engine })
  const generating = loaded.generate('x')
  engine.terminate()
  await expect(generating).rejects.toMatchObject({ name: 'DeviceError', code: 'engine-terminated' })
  hang = false
  expect((await loaded.generate('x', { seed: 3 })).seed).toBe(3)
  expect([started(), loads]).toEqual([2, 2])
})

/** An engine whose first worker is lost at once. Later loads wait for `finish`, and their pipelines are counted. */
async function reloading() {
  const counts = { loads: 0, disposed: 0 }
  let finish: (() => void) | undefined
  const signals: AbortSignal[] = []
  const { engine } = engineWith(async (_repo, { signal, onProgress }) => {
    signals.push(signal)
    if (++counts.loads > 1) {
      onProgress({ type: 'status', phase: 'resolving' })
      await Promise.race([new Promise<void>((resolve) => (finish = resolve)), untilAborted(signal)])
    }
    return pipeline({ dispose: () => Promise.resolve(void counts.disposed++) })
  })
  const loaded = await DiffusionPipeline.fromPretrained('a/b', { engine })
  engine.terminate()
  return { loaded, counts, signals, finish: () => finish?.() }
}

test('generations that find the worker lost share one reload, and each may leave it', async () => {
  const { loaded, counts, finish } = await reloading()
  const heard = { first: 0, second: 0 }
  const leave = new AbortController()
  const first = loaded.generate('x', { seed: 1, onProgress: () => heard.first++ })
  const second = loaded.generate('y', { seed: 2, onProgress: () => heard.second++ })
  const third = loaded.generate('z', { signal: leave.signal })
  await expect.poll(() => heard).toEqual({ first: 1, second: 1 })
  leave.abort()
  await expect(third).rejects.toMatchObject({ name: 'AbortError' })
  finish()
  expect([(await first).seed, (await second).seed]).toEqual([1, 2])
  expect(counts.loads).toBe(2)
  await loaded.dispose()
  expect(counts.disposed).toBe(1)
})

test('a reload that no call waits for any more stops, and the next generation loads again', async () => {
  const { loaded, counts, signals, finish } = await reloading()
  const leave = new AbortController()
  const left = loaded.generate('x', { signal: leave.signal })
  await expect.poll(() => counts.loads).toBe(2)
  leave.abort()
  await expect(left).rejects.toMatchObject({ name: 'AbortError' })
  const next = loaded.generate('y', { seed: 4 })
  await expect.poll(() => counts.loads).toBe(3)
  expect(signals.map(({ aborted }) => aborted)).toEqual([false, true, false])
  finish()
  expect((await next).seed).toBe(4)
})

test('a pipeline that is disposed while it is loaded again leaves nothing behind', async () => {
  const { loaded, counts, signals } = await reloading()
  const generating = loaded.generate('x').catch((error: unknown) => error)
  await expect.poll(() => counts.loads).toBe(2)
  await loaded.dispose()
  expect(await generating).toMatchObject({ name: 'AbortError' })
  await expect.poll(() => signals[1]?.aborted).toBe(true)
  await expect(loaded.generate('x')).rejects.toMatchObject({ code: 'pipeline-disposed' })
})

test.each([
  [true, 'engine-blocked'],
  [false, 'engine-not-fetched'],
])('when the script of a worker fails, its calls reject; online %s: %s', async (onLine, code) => {
  vi.stubGlobal('navigator', { onLine })
  const target = new EventTarget()
  const spawn = (): EngineWorker => ({
    postMessage: () => {},
    addEventListener: target.addEventListener.bind(target),
    removeEventListener: target.removeEventListener.bind(target),
    terminate: () => {},
  })
  const loading = DiffusionPipeline.fromPretrained('a/b', { engine: new Engine({ worker: spawn }) })
  target.dispatchEvent(new Event('error'))
  await expect(loading).rejects.toMatchObject({ name: 'DeviceError', code })
})
