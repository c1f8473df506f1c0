/** The gallery in a browser: storage failures are shown, and the blob URLs of pictures are revoked. */
import { afterEach, expect, onTestFinished, test, vi } from 'vitest'
import { Gallery } from './gallery.js'
import { GalleryStore } from './gallery-store.js'
import { entry, storeFor } from './testing-gallery.js'

afterEach(() => {
  vi.restoreAllMocks()
})

function show(store: GalleryStore): { readonly section: HTMLElement; readonly gallery: Gallery } {
  const section = document.createElement('section')
  document.body.append(section)
  onTestFinished(() => section.remove())
  return { section, gallery: new Gallery(section, { onReuse: () => {}, link: () => '' }, store) }
}

test('a database failure on “Show more” is shown', async () => {
  const store = storeFor('gallery-test-more')
  for (let k = 0; k < 25; k++) await store.add(entry(`picture ${k}`), new Blob())
  const { section, gallery } = show(store)
  await gallery.start()
  vi.spyOn(store, 'list').mockRejectedValue(new Error('The disk is gone.'))
  section.querySelector<HTMLButtonElement>('.more')?.click()
  await expect.poll(() => section.querySelector('.note:not([hidden])')?.textContent).toContain('The disk is gone.')
})

test('the URLs of pictures that cannot be shown, and of deleted pictures, are revoked', async () => {
  const revoked = vi.spyOn(URL, 'revokeObjectURL')
  const store = storeFor('gallery-test-urls')
  await store.add(entry('broken'), new Blob(['no picture'], { type: 'image/png' }))
  const { section, gallery } = show(store)
  await gallery.start()
  const image = section.querySelector('img')
  await expect.poll(() => revoked.mock.calls.flat()).toContain(image?.src)

  // The second picture is not visible, so the browser does not load it.
  section.style.cssText = 'position: absolute; top: 100000px'
  await store.add(entry('unseen'), new Blob(['no picture'], { type: 'image/png' }))
  const other = show(store)
  other.section.style.cssText = 'position: absolute; top: 100000px'
  await other.gallery.start()
  const unseen = other.section.querySelector('img')
  other.section.querySelector<HTMLButtonElement>('[aria-label="Open: unseen"]')?.click()
  await expect.poll(() => document.querySelector('dialog[open]')).not.toBeNull()
  expect(revoked.mock.calls.flat()).not.toContain(unseen?.src)
  const buttons = [...document.querySelectorAll<HTMLButtonElement>('dialog[open] button')]
  buttons.find(({ textContent }) => textContent === 'Delete')?.click()
  await expect.poll(() => revoked.mock.calls.flat()).toContain(unseen?.src)
})

test('a picture that another tab stores appears, and one that it deletes disappears', async () => {
  const name = 'gallery-test-tabs'
  const here = storeFor(name)
  const { section, gallery } = show(here)
  await gallery.start()
  const otherTab = new GalleryStore(name)
  const captions = () => [...section.querySelectorAll('.caption')].map(({ textContent }) => textContent)
  const first = await otherTab.add(entry('first'), new Blob())
  await expect.poll(captions).toEqual(['first'])
  await otherTab.add(entry('second'), new Blob())
  await expect.poll(captions).toEqual(['second', 'first'])
  await otherTab.delete(first.id)
  await expect.poll(captions).toEqual(['second'])
})
