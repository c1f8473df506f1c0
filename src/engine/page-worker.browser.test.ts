import { afterEach, expect, test } from 'vitest'
import { HelperWorkers } from './client/helper-workers.js'
import { installPageWorkers } from './page-worker.js'

const { port1, port2 } = new MessageChannel()
let helpers = new HelperWorkers(port1)
const scope: { Worker: typeof Worker } = { Worker }
installPageWorkers(port2, scope)

afterEach(() => expect(unexpected).toEqual([]))

/** The messages of uncaught errors. Every test expects none. */
const unexpected: string[] = []
addEventListener('error', ({ message }) => unexpected.push(message))

function script(text: string): string {
  return URL.createObjectURL(new Blob([text], { type: 'text/javascript' }))
}

function next(worker: Worker, type: 'message' | 'error' = 'message'): Promise<MessageEvent & ErrorEvent> {
  return new Promise((resolve) =>
    worker.addEventListener(type, (event) => resolve(event as MessageEvent & ErrorEvent), { once: true }),
  )
}

const echo = 'onmessage = ({ data, ports }) => { postMessage({ data, name: self.name }, [...ports]) }'

test('the page starts a module worker with its name, and passes messages, transferred buffers and ports on in both directions', async () => {
  const worker = new scope.Worker(script(`export {}; ${echo}`), { type: 'module', name: 'em-pthread' })
  // Emscripten sets these properties.
  const handled = new Promise((resolve) => Object.assign(worker, { onmessage: resolve }))
  const buffer = new ArrayBuffer(8)
  const channel = new MessageChannel()
  worker.postMessage({ buffer, port: channel.port2, shared: 'kept' }, [buffer, channel.port2])
  expect(buffer.byteLength).toBe(0)
  const { data, ports } = await next(worker)
  expect(data.name).toBe('em-pthread')
  expect(data.data.buffer.byteLength).toBe(8)
  expect(data.data.shared).toBe('kept')
  await handled
  const through = new Promise((resolve) => channel.port1.addEventListener('message', ({ data: text }) => resolve(text)))
  channel.port1.start()
  ports[0]?.postMessage('hello')
  expect(await through).toBe('hello')
  worker.terminate()
})

test('the page ends a worker that is terminated, and every worker of an engine that ends', async () => {
  const name = crypto.randomUUID()
  const alive = `new Promise((taken) => navigator.locks.request('${name}' + self.name, () => { taken(); return new Promise(() => {}) })).then(() => postMessage('up'))`
  const start = async (each: string) => {
    const worker = new scope.Worker(script(alive), { name: each })
    await next(worker)
    return worker
  }
  const first = await start('first')
  await start('second')
  first.terminate()
  // The browser grants this request once the worker that holds the lock is gone.
  await navigator.locks.request(`${name}first`, () => undefined)
  expect((await navigator.locks.query()).held?.some((lock) => lock.name === `${name}second`)).toBe(true)
  helpers.terminate()
  await navigator.locks.request(`${name}second`, () => undefined)

  const channel = new MessageChannel()
  helpers = new HelperWorkers(channel.port1)
  scope.Worker = Worker
  installPageWorkers(channel.port2, scope)
})

test('an error of a running worker reaches the engine, with its message and line', async () => {
  const worker = new scope.Worker(script(`postMessage('up')\nonmessage = () => { throw new Error('no more') }`))
  await next(worker)
  worker.postMessage('go')
  expect(await next(worker, 'error')).toMatchObject({ message: expect.stringContaining('no more'), lineno: 2 })
  worker.terminate()
})

test('a worker that the page may not start is started by the engine, with the messages it was sent', async () => {
  /** How many workers this thread started itself. */
  let own = 0
  class Counted extends Worker {
    constructor(...start: ConstructorParameters<typeof Worker>) {
      super(...start)
      own++
    }
  }
  const { port1: pagePort, port2: enginePort } = new MessageChannel()
  const refusing = new HelperWorkers(pagePort, () => {
    throw new DOMException('Refused by the policy', 'SecurityError')
  })
  const engine: { Worker: typeof Worker } = { Worker: Counted }
  installPageWorkers(enginePort, engine)
  const worker = new engine.Worker(script(echo), { name: 'own' })
  worker.postMessage('early')
  expect((await next(worker)).data).toEqual({ data: 'early', name: 'own' })
  worker.postMessage('late')
  expect((await next(worker)).data).toEqual({ data: 'late', name: 'own' })
  expect(own).toBe(1)
  worker.terminate()
  refusing.terminate()
})

test('a worker whose script cannot be loaded by either reports an error once', async () => {
  const worker = new scope.Worker(new URL('/no/such/script.js', location.href))
  let errors = 0
  Object.assign(worker, { onerror: () => errors++ })
  await next(worker, 'error')
  // A second report would arrive before the answer of a worker that starts now.
  const later = new scope.Worker(script(echo))
  later.postMessage('later')
  await next(later)
  expect(errors).toBe(1)
  for (const each of [worker, later]) each.terminate()
})
