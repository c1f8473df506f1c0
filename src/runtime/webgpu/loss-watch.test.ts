import { expect, test } from 'vitest'
import { DeviceError } from '../../errors.js'
import { LossWatch } from './loss-watch.js'

const loss = new DeviceError('device-lost', 'The GPU device was lost.')
const forever = 2 ** 31 - 1

test('a wait settles as its work does, and is removed', async () => {
  const watch = new LossWatch()
  for (let run = 0; run < 100; run++) {
    expect(await watch.race(Promise.resolve(run))).toBe(run)
    await expect(watch.race(Promise.reject(new Error(`run ${run}`)))).rejects.toThrow(`run ${run}`)
  }
  expect(watch.size).toBe(0)
})

test('a loss ends all waits, and waits that begin later', async () => {
  const watch = new LossWatch()
  const waits = [1, 2].map(() => watch.race(new Promise(() => {})).catch((error: unknown) => error))
  expect(watch.size).toBe(2)
  watch.end(loss)
  expect(await Promise.all(waits)).toEqual([loss, loss])
  expect(watch.size).toBe(0)
  await expect(watch.race(new Promise(() => {}))).rejects.toBe(loss)
  expect(watch.size).toBe(0)
})

test('after a loss, work that must not run twice is waited for, but not for ever', async () => {
  const watch = new LossWatch({ toldWithin: 0, grace: 20 })
  expect(await watch.outlast(Promise.resolve(1))).toBe(1)
  const stuck = watch.outlast(new Promise(() => {})).catch((error: unknown) => error)
  let giveUp: ((failure: Error) => void) | undefined
  const work = new Promise<never>((_, reject) => {
    giveUp = reject
  })
  const slow = new LossWatch({ toldWithin: 0, grace: forever })
  let over = false
  const returning = slow.outlast(work).catch((error: unknown) => {
    over = true
    return error
  })
  watch.end(loss)
  slow.end(loss)
  expect(await stuck).toBe(loss)
  expect(over).toBe(false)
  giveUp?.(new Error('The context was lost.'))
  expect(await returning).toBe(loss)
  expect([watch.size, slow.size]).toEqual([0, 0])
})

test('a failure that a loss may have caused waits for the report of the loss', async () => {
  for (const failure of [
    new DOMException('Buffer was destroyed before mapping was resolved.', 'AbortError'),
    new DOMException('Instance dropped.', 'OperationError'),
    new DeviceError('gpu-error', 'The GPU reported an error.'),
    new DeviceError('runtime-error', 'onnxruntime failed.'),
  ]) {
    const watch = new LossWatch({ toldWithin: forever, grace: 0 })
    const reason = watch.reasonOf(failure)
    expect(watch.size).toBe(1)
    watch.end(loss)
    expect(await reason).toBe(loss)
    expect(await watch.reasonOf(failure)).toBe(loss)
    expect(watch.size).toBe(0)
  }
})

test('without a loss the failure is reported: soon, or at once if no loss can have caused it', async () => {
  const failure = new DeviceError('gpu-error', 'The GPU reported an error.')
  const brief = new LossWatch({ toldWithin: 1, grace: 0 })
  expect(await brief.reasonOf(failure)).toBe(failure)
  const watch = new LossWatch({ toldWithin: forever, grace: forever })
  for (const other of [new Error('the disk is gone'), new DeviceError('out-of-memory', 'no room'), undefined])
    expect(await watch.reasonOf(other)).toBe(other)
  const cancel = AbortSignal.abort()
  expect(await watch.reasonOf(cancel.reason, cancel)).toBe(cancel.reason)
  expect([brief.size, watch.size]).toEqual([0, 0])
})
