/** The gallery store in real IndexedDB. */
import { expect, onTestFinished, test, vi } from 'vitest'
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

test('in a browser that stores no Blobs, a picture, its start picture and its reference pictures are stored as buffers', async () => {
  // WebKit refuses to store Blobs in a private window.
  const original = Object.getOwnPropertyDescriptor(IDBObjectStore.prototype, 'put')
  const put = original?.value as (this: IDBObjectStore, value: unknown, key?: IDBValidKey) => IDBRequest<IDBValidKey>
  const refusing = vi.spyOn(IDBObjectStore.prototype, 'put').mockImplementation(function (this: IDBObjectStore, value, key) {
    if (value instanceof Blob) throw new DOMException('Blobs are not supported.', 'DataCloneError')
    return put.call(this, value, key)
  })
  onTestFinished(() => refusing.mockRestore())
  const store = storeFor('gallery-test-no-blobs')
  const start = new Blob(['start'], { type: 'image/png' })
  const made = await store.add(
    { ...entry('one'), startImage: start, referenceImages: [start, start] },
    new Blob(['picture'], { type: 'image/png' }),
  )
  const [listed, ...others] = await store.list(10)
  expect(others).toEqual([])
  expect(listed?.id).toBe(made.id)
  expect(await listed?.startImage?.text()).toBe('start')
  expect(await Promise.all(listed?.referenceImages?.map((picture) => picture.text()) ?? [])).toEqual(['start', 'start'])
  const file = await store.file(made.id)
  expect([file?.type, await file?.text()]).toEqual(['image/png', 'picture'])
})
