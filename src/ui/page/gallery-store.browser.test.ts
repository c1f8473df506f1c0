/** The gallery store in real IndexedDB. */
import { expect, test } from 'vitest'
import { GalleryStore } from './gallery-store.js'
import { entry, storeFor } from './testing-gallery.js'

test('entries are listed page by page, newest first, without their files', async () => {
  const store = storeFor('gallery-test-pages')
  for (const prompt of ['one', 'two', 'three']) await store.add(entry(prompt), new Blob([prompt]))
  const first = await store.list(2)
  expect(first.map(({ settings }) => settings.prompt)).toEqual(['three', 'two'])
  const rest = await store.list(2, first.at(-1)?.id)
  expect(rest.map(({ settings }) => settings.prompt)).toEqual(['one'])
  expect(await (await store.file(rest[0]?.id ?? -1))?.text()).toBe('one')
})

test('a deleted picture and its file are gone, also for a store opened later', async () => {
  const store = storeFor('gallery-test-delete')
  const kept = await store.add(entry('kept'), new Blob(['kept']))
  const gone = await store.add(entry('gone'), new Blob(['gone']))
  await store.delete(gone.id)
  const again = new GalleryStore('gallery-test-delete')
  expect(await again.list(10)).toEqual([kept])
  expect(await again.file(gone.id)).toBeUndefined()
})
