/** The client with the real worker in a real browser: errors with their class, a worker that is lost, a worker from a blob. */
import { expect, onTestFinished, test } from 'vitest'
import { HubError } from '../../errors.js'
import { DiffusionPipeline } from './diffusion-pipeline.js'
import { Engine } from './engine-client.js'
import { ModelCache } from './model-cache.js'
import { spawnWorker, type EngineWorker } from './spawn-worker.js'

function engineOf(options?: ConstructorParameters<typeof Engine>[0]): Engine {
  const engine = new Engine(options)
  onTestFinished(() => engine.terminate())
  return engine
}

test('an error of the hub arrives with its class', async () => {
  // Nothing listens on port 1 of this machine.
  const loading = DiffusionPipeline.fromPretrained('a/b', {
    engine: engineOf(),
    endpoint: 'http://127.0.0.1:1',
  })
  const error = await loading.catch((thrown: unknown) => thrown)
  expect(error).toBeInstanceOf(HubError)
  expect(error).toMatchObject({ name: 'HubError', code: expect.stringMatching(/^[a-z-]+$/) as unknown })
})

test('when a worker is ended from outside, its calls reject, and the next call starts another worker', async () => {
  const workers: EngineWorker[] = []
  const engine = engineOf({
    worker: () => {
      const worker = spawnWorker('url')
      workers.push(worker)
      return worker
    },
  })
  const cache = new ModelCache({ engine })
  await cache.list()
  const waiting = engine.connect().call(() => new Promise<never>(() => {}))
  // Like a browser that runs out of memory, `terminate` ends the worker without an event.
  workers[0]?.terminate()
  await expect(waiting).rejects.toMatchObject({ name: 'DeviceError', code: 'engine-terminated' })
  expect(await cache.list()).toEqual(expect.any(Array))
  expect(workers).toHaveLength(2)
})

test('a worker from a blob does the same work', async () => {
  const cache = new ModelCache({ engine: engineOf({ worker: 'blob' }) })
  expect(await cache.list()).toEqual(expect.any(Array))
})
