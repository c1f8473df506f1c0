import { expect, it } from 'vitest'
import { defaultSettings } from './settings.js'

it('keeps what the guide promises', () => {
  const { chunkBytes, memoryBytes } = defaultSettings
  expect(defaultSettings).toMatchObject({ startConnections: 2, maxConnections: 6, maxStreams: 12, stallMs: 20_000, maxTries: 5 })
  // A tab that dies fetches six chunks again at most: whatever is not stored is claimed.
  expect(memoryBytes).toBe(6 * chunkBytes)
  expect(memoryBytes).toBeGreaterThanOrEqual(64 << 20)
  expect(memoryBytes).toBeLessThanOrEqual(128 << 20)
})
