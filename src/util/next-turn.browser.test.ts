import { expect, test } from 'vitest'
import { Turns } from './next-turn.js'

test('messages arrive during pauses that share one channel', async () => {
  const { port1, port2 } = new MessageChannel()
  let came = 0
  port1.addEventListener('message', () => came++)
  port1.start()
  const turns = new Turns()
  for (let i = 1; i <= 100; i++) {
    port2.postMessage(i)
    await turns.next()
    await turns.next()
    expect(came).toBe(i)
  }
  turns.close()
  port1.close()
})
