/** Test helper: a separate gallery store, and pictures to put into it. */
import { onTestFinished } from 'vitest'
import { GalleryStore, type GalleryEntry } from './gallery-store.js'

/** A small picture of a prompt. */
export const entry = (prompt: string): Omit<GalleryEntry, 'id'> => ({
  createdAt: 5,
  name: `${prompt}.png`,
  width: 8,
  height: 8,
  settings: { model: 'a/b', prompt, seed: 1 },
})

/** A store in real IndexedDB, deleted after the test. */
export function storeFor(name: string): GalleryStore {
  onTestFinished(() => void indexedDB.deleteDatabase(name))
  return new GalleryStore(name)
}
