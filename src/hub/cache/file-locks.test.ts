import { expect, it } from 'vitest'
import { nextTurn } from '../../util/next-turn.js'
import { deferred } from '../../util/deferred.js'
import { createLocks } from './file-locks.js'

const never = () => new AbortController().signal

it('callers of one lock run one after the other, callers of other locks at the same time', async () => {
  const locks = await createLocks()
  const order: string[] = []
  const first = deferred()
  const runs = [
    locks.exclusively('a', never(), async () => {
      await first.promise
      order.push('first')
    }),
    locks.exclusively('a', never(), async () => void order.push('second')),
  ]
  await locks.exclusively('b', never(), async () => void order.push('other'))
  first.resolve()
  await Promise.all(runs)
  expect(order).toEqual(['other', 'first', 'second'])
})

it('an aborted caller leaves the queue, and the callers behind it still wait', async () => {
  const locks = await createLocks()
  const first = deferred()
  const running: string[] = []
  const one = locks.exclusively('a', never(), async () => {
    running.push('one')
    await first.promise
    running.push('one ended')
  })
  const stop = new AbortController()
  const two = locks.exclusively('a', stop.signal, async () => void running.push('two'))
  const three = locks.exclusively('a', never(), async () => void running.push('three'))
  stop.abort()
  await expect(two).rejects.toThrow(expect.objectContaining({ name: 'AbortError' }))
  first.resolve()
  await Promise.all([one, three])
  expect(running).toEqual(['one', 'one ended', 'three'])
})

it('the lock stays held when the caller that waited for it has left', async () => {
  const locks = await createLocks()
  const first = deferred()
  const running: string[] = []
  const one = locks.exclusively('a', never(), async () => {
    await first.promise
    running.push('one ended')
  })
  const stop = new AbortController()
  const two = locks.exclusively('a', stop.signal, async () => void running.push('two'))
  stop.abort()
  await expect(two).rejects.toThrow(expect.objectContaining({ name: 'AbortError' }))
  expect(await locks.ifFree('a', async () => 'ran')).toBeUndefined()
  const three = locks.exclusively('a', never(), async () => void running.push('three'))
  await nextTurn()
  first.resolve()
  await Promise.all([one, three])
  expect(running).toEqual(['one ended', 'three'])
  expect(await locks.ifFree('a', async () => 'ran')).toBe('ran')
})

it('a lock is shared only once its exclusive holder has finished', async () => {
  const locks = await createLocks()
  const deleted = deferred()
  const order: string[] = []
  const deleting = locks.ifFree('a', async () => {
    await deleted.promise
    order.push('deleted')
  })
  const share = async () => {
    await locks.share('a')
    order.push('shared')
  }
  const sharing = share()
  await nextTurn()
  deleted.resolve()
  await Promise.all([deleting, sharing])
  expect(order).toEqual(['deleted', 'shared'])
})

it('a shared lock is not free until its last sharer has released it', async () => {
  const locks = await createLocks()
  const [first, second] = [await locks.share('a'), await locks.share('a')]
  first()
  first()
  expect(await locks.ifFree('a', async () => 'ran')).toBeUndefined()
  second()
  expect(await locks.ifFree('a', async () => 'ran')).toBe('ran')
})

it('a holder that fails releases its lock', async () => {
  const locks = await createLocks()
  await expect(locks.exclusively('a', never(), () => Promise.reject(new Error('no')))).rejects.toThrow('no')
  expect(await locks.exclusively('a', never(), async () => 1)).toBe(1)
})
