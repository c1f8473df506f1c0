/**
 * A worker that measures the limits of any download into IndexedDB in this browser: it fetches and stores a file without verifying it, or
 * only hashes as many bytes.
 */

import { createSHA256 } from 'hash-wasm'
import { defaultSettings } from '../../src/hub/settings.js'
import { openShardCache } from '../../src/hub/cache/shard-cache.js'

const { chunkBytes, maxConnections } = defaultSettings

const methods: Record<string, (size: number, url: string) => Promise<number>> = {
  /** Fetches chunks in parallel, each in one request, and stores each unchanged. */
  async fetchAndStore(size, url) {
    const store = await openShardCache(defaultSettings)
    let next = 0
    const connection = async () => {
      while (next * chunkBytes < size) {
        const index = next++
        const range = `bytes=${index * chunkBytes}-${Math.min(size, (index + 1) * chunkBytes) - 1}`
        const response = await fetch(url, { cache: 'no-store', headers: { range } })
        await store.putChunk('limit', index, new Uint8Array(await response.arrayBuffer()))
      }
    }
    await Promise.all(Array.from({ length: maxConnections }, connection))
    return size
  },
  /** Hashes as many bytes as the file has, in order. */
  async hash(size) {
    const hasher = (await createSHA256()).init()
    const chunk = new Uint8Array(chunkBytes)
    for (let at = 0; at < size; at += chunkBytes) hasher.update(chunk.subarray(0, Math.min(chunkBytes, size - at)))
    hasher.digest()
    return size
  },
}

interface Call {
  readonly id: number
  readonly method: string
  readonly args: [size: number, url: string]
}

async function answer({ id, method, args }: Call): Promise<void> {
  try {
    postMessage({ id, value: await methods[method]?.(...args) })
  } catch (error) {
    postMessage({ id, error: String(error) })
  }
}

addEventListener('message', ({ data }: MessageEvent<Call>) => void answer(data))
