/** For this folder's browser tests: a gallery's store of its own and what goes into it. Not part of the page. */
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

/** A store on real IndexedDB that goes with the test. */
export function storeFor(name: string): GalleryStore {
  onTestFinished(() => void indexedDB.deleteDatabase(name))
  return new GalleryStore(name)
}
