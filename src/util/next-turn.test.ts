import { expect, test } from 'vitest'
import { nextTurn } from './next-turn.js'

test('waiting messages are delivered first, and so are timers that are due', async () => {
  const { port1, port2 } = new MessageChannel()
  let came = 0
  port1.addEventListener('message', () => came++)
  port1.start()
  port2.postMessage('one')
  port2.postMessage('two')
  await nextTurn()
  await nextTurn()
  expect(came).toBe(2)
  port1.close()
})

test('a chain of microtasks does not deliver messages, so a pause is needed', async () => {
  const { port1, port2 } = new MessageChannel()
  let came = 0
  port1.addEventListener('message', () => came++)
  port1.start()
  port2.postMessage('one')
  for (let i = 0; i < 1000; i++) await Promise.resolve()
  expect(came).toBe(0)
  port1.close()
})
