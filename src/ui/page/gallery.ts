/** The gallery on the page: lists earlier pictures, newest first; opens, compares and deletes them. */

import type { ImageDetail } from '../element.js'
import { h, setText } from '../parts/dom.js'
import { openCompare } from './compare-dialog.js'
import { GalleryStore, type GalleryChange, type GalleryEntry } from './gallery-store.js'
import { glideAside } from './glide.js'
import { openPicture, type PictureActions } from './picture-dialog.js'

/** The number of pictures shown at first, and added with each click on the button. */
const pageSize = 24

/** Fills the gallery section. */
export class Gallery {
  readonly #store: GalleryStore
  readonly #actions: Omit<PictureActions, 'onDelete'>
  readonly #list = h('ul', { class: 'prints' })
  readonly #more = h('button', { type: 'button', class: 'more' }, 'Show more')
  readonly #compare = h('button', { type: 'button' }, 'Compare two')
  readonly #empty = h(
    'p',
    { class: 'gallery-empty' },
    'Pictures you generate are kept here, in this browser, with their settings.',
  )
  readonly #hint = h('span', { class: 'hint' }, 'Select two to compare them.')
  readonly #problem = h('p', { class: 'note', role: 'status' })
  readonly #chosen = new Map<number, GalleryEntry>()
  #oldest = Infinity

  constructor(section: HTMLElement, actions: Omit<PictureActions, 'onDelete'>, store = new GalleryStore()) {
    this.#actions = actions
    this.#store = store
    this.#problem.hidden = true
    this.#more.hidden = true
    this.#compare.disabled = true
    this.#compare.hidden = true
    this.#hint.hidden = true
    this.#compare.addEventListener('click', () => void this.#openCompare())
    this.#more.addEventListener('click', () => void this.#attempt(() => this.#showMore()))
    section.append(
      h(
        'div',
        { class: 'section-head' },
        h('h2', { id: 'gallery-title' }, 'Earlier pictures'),
        h('div', { class: 'tools' }, this.#hint, this.#compare),
      ),
      this.#problem,
      this.#empty,
      this.#list,
      this.#more,
    )
  }

  /** Shows the pictures of earlier visits, and then follows the changes that other tabs make. */
  async start(): Promise<void> {
    this.#store.listen((change) => void this.#attempt(() => this.#follow(change)))
    await this.#attempt(() => this.#showMore())
  }

  /** Shows a change that another tab has made. */
  async #follow(change: GalleryChange): Promise<void> {
    if ('deleted' in change) return this.#remove(change.deleted)
    const entry = await this.#store.entry(change.added)
    const file = await this.#store.file(change.added)
    // The picture may already be deleted again, or already be listed.
    if (entry === undefined || this.#find(entry.id) !== null) return
    // Of two pictures that are stored one after the other, the second may be read first.
    const older = [...this.#list.children].find((item) => Number((item as HTMLElement).dataset['id']) < entry.id) ?? null
    glideAside(this.#list, () => this.#list.insertBefore(this.#item(entry, file), older))
    this.#drawState()
  }

  #find(id: number): HTMLElement | null {
    return this.#list.querySelector(`[data-id="${id}"]`)
  }

  #remove(id: number): void {
    const item = this.#find(id)
    if (item === null) return
    this.#choose(id, undefined)
    // An image revokes its URL when it has loaded. This one may not have loaded, because it was never scrolled into view.
    URL.revokeObjectURL(item.querySelector('img')?.src ?? '')
    item.remove()
    this.#drawState()
  }

  /** Adds the pictures of a run. */
  async keep({ images, files, settings, startImage, referenceImages }: ImageDetail): Promise<void> {
    await this.#attempt(async () => {
      for (const [index, file] of files.entries()) {
        const { width = 0, height = 0 } = images[index] ?? {}
        const pictures = {
          ...(startImage === null ? {} : { startImage }),
          ...(referenceImages.length === 0 ? {} : { referenceImages }),
        }
        const made = { createdAt: Date.now(), name: file.name, width, height, settings, ...pictures }
        const entry = await this.#store.add(made, file)
        glideAside(this.#list, () => this.#list.prepend(this.#item(entry, file)))
        this.#oldest = Math.min(this.#oldest, entry.id)
      }
      this.#drawState()
    })
  }

  async #showMore(): Promise<void> {
    const entries = await this.#store.list(pageSize + 1, this.#oldest)
    for (const entry of entries.slice(0, pageSize)) {
      this.#list.append(this.#item(entry, await this.#store.file(entry.id)))
      this.#oldest = entry.id
    }
    this.#more.hidden = entries.length <= pageSize
    this.#drawState()
  }

  #item(entry: GalleryEntry, file: Blob | undefined): HTMLElement {
    const { prompt } = entry.settings
    const image = h('img', { alt: '', loading: 'lazy', width: entry.width, height: entry.height })
    if (file !== undefined) {
      image.src = URL.createObjectURL(file)
      for (const over of ['load', 'error']) image.addEventListener(over, () => URL.revokeObjectURL(image.src), { once: true })
    }
    const choose = h('input', { type: 'checkbox', 'aria-label': `Compare: ${prompt}` })
    choose.addEventListener('change', () => this.#choose(entry.id, choose.checked ? entry : undefined))
    return h(
      'li',
      { class: 'print', 'data-id': entry.id },
      h(
        'button',
        {
          type: 'button',
          'aria-label': `Open: ${prompt === '' ? 'picture without a prompt' : prompt}`,
          onclick: () => void this.#open(entry),
        },
        image,
      ),
      h('p', { class: 'caption', 'aria-hidden': 'true' }, prompt),
      h('label', {}, choose),
    )
  }

  async #open(entry: GalleryEntry): Promise<void> {
    await this.#attempt(async () => {
      const file = await this.#store.file(entry.id)
      if (file === undefined) throw new Error('The browser has removed this picture’s file.')
      openPicture(entry, file, {
        ...this.#actions,
        onDelete: () => {
          void this.#attempt(async () => {
            await this.#store.delete(entry.id)
            this.#remove(entry.id)
          })
        },
      })
    })
  }

  /** Shows the button Compare two and its hint if there are two or more pictures, and the text for an empty gallery if there are none. */
  #drawState(): void {
    const count = this.#list.childElementCount
    this.#empty.hidden = count > 0
    this.#compare.hidden = count < 2
    this.#hint.hidden = count < 2
    this.#list.classList.toggle('single', count < 2)
  }

  /** Selects a picture for the comparison, or with `undefined` removes it from the selection. */
  #choose(id: number, entry: GalleryEntry | undefined): void {
    if (entry === undefined) this.#chosen.delete(id)
    else this.#chosen.set(id, entry)
    // When a third picture is selected, deselect the first.
    const [first] = this.#chosen.keys()
    if (this.#chosen.size > 2 && first !== undefined) {
      this.#chosen.delete(first)
      const box = this.#list.querySelector<HTMLInputElement>(`[data-id="${first}"] input`)
      if (box !== null) box.checked = false
    }
    this.#compare.disabled = this.#chosen.size !== 2
  }

  async #openCompare(): Promise<void> {
    await this.#attempt(async () => {
      const [left, right] = [...this.#chosen.values()]
      if (left === undefined || right === undefined) return
      const [leftFile, rightFile] = [await this.#store.file(left.id), await this.#store.file(right.id)]
      if (leftFile === undefined || rightFile === undefined) throw new Error('The browser has removed a picture’s file.')
      openCompare({ entry: left, file: leftFile }, { entry: right, file: rightFile })
    })
  }

  /** Runs `task` and shows its error: storage may be full, blocked or deleted. Generating pictures works without the gallery. */
  async #attempt(task: () => Promise<void>): Promise<void> {
    try {
      await task()
      this.#problem.hidden = true
    } catch (error) {
      const why = error instanceof Error ? error.message : ''
      setText(
        this.#problem,
        error instanceof DOMException && error.name === 'QuotaExceededError'
          ? 'This picture could not be added to the gallery: the browser’s storage is full. Save it as a PNG, or delete a model under “Models”.'
          : `The gallery is not available, so save the pictures you want to keep as PNG files. (${why})`,
      )
      this.#problem.hidden = false
    }
  }
}
