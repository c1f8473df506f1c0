import { expect, it } from 'vitest'
import { defaultSettings } from './settings.js'

it('the default settings are the ones that docs/downloads.md names', () => {
  const { chunkBytes, memoryBytes } = defaultSettings
  expect(defaultSettings).toMatchObject({ startConnections: 2, maxConnections: 6, maxStreams: 12, stallMs: 20_000, maxTries: 5 })
  // Some browsers have refused to store larger buffers than 127 MiB (Chromium) or 255 MiB (Firefox) in IndexedDB.
  expect(chunkBytes).toBe(16 << 20)
  // A tab that dies downloads at most six chunks again: every chunk that is not stored is in the download memory.
  expect(memoryBytes).toBe(6 * chunkBytes)
  expect(memoryBytes).toBeGreaterThanOrEqual(64 << 20)
  expect(memoryBytes).toBeLessThanOrEqual(128 << 20)
})
