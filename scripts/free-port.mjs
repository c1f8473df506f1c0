/** Ports for programs that cannot choose a free one themselves. */
import { createServer } from 'node:net'

/**
 * Systems give no connection a port below 32,768 by themselves (Linux 32,768 and above, others 49,152), so no other program takes such a port
 * by chance between the moment it is found free and the moment it is used.
 */
const lowest = 20_000
const highest = 32_000

/** The ports that this process has been given. @type {Set<number>} */
const given = new Set()

/**
 * A port of this machine that nothing listens on, another one with each call.
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
