/** Ports for programs that cannot choose a free one themselves. */
import { createServer } from 'node:net'

/**
 * Operating systems choose ports only from 32,768 (Linux) or 49,152 (others) upwards for connections that do not name one. So no other
 * program takes a lower port by chance between the moment it is found free and the moment it is used.
 */
const lowest = 20_000
const highest = 32_000

/** The ports that were already returned or found taken. @type {Set<number>} */
const given = new Set()

/**
 * A port of this machine that nothing listens on. Each call returns a different one.
 * @returns {Promise<number>}
 */
export async function freePort() {
  for (;;) {
    const port = lowest + Math.floor(Math.random() * (highest - lowest))
    if (given.has(port)) continue
    given.add(port)
    if (await isFree(port)) return port
  }
}

/**
 * @param {number} port
 * @returns {Promise<boolean>}
 */
function isFree(port) {
  const server = createServer()
  return new Promise((resolve) => {
    server.once('error', () => resolve(false))
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
  })
}
