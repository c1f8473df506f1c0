/**
 * Stores earlier pictures in IndexedDB: one store for the entries, one for the files. It does not use idb-keyval, which lacks transactions
 * over two stores (an entry must never be stored without its file), generated keys and cursors.
 */

import type { PromptSettings } from '../element.js'

/** A stored picture, without its file. */
export interface GalleryEntry {
  readonly id: number
  /** Milliseconds since 1970. */
  readonly createdAt: number
  readonly name: string
  readonly width: number
  readonly height: number
  readonly settings: PromptSettings
  /** The start picture of the run, if any. */
  readonly startImage?: Blob | undefined
  /** The reference pictures of the run, in their order, if any. */
  readonly referenceImages?: readonly Blob[] | undefined
}

/** The members that hold pictures. */
type PictureKey = 'startImage' | 'referenceImages'

/** A change by another tab: the id of the picture that it stored or deleted. */
export type GalleryChange = { readonly added: number } | { readonly deleted: number }

/** The database of the gallery. */
export class GalleryStore {
  readonly #database: Promise<IDBDatabase>
  /** Carries {@link GalleryChange}s between the tabs. */
  readonly #tabs: BroadcastChannel

  constructor(name = 'aquatint-gallery') {
    this.#database = open(name)
    this.#tabs = new BroadcastChannel(name)
    // The methods below report the failure; this only prevents an unhandled rejection.
    this.#database.catch(() => {})
  }

  /** Calls `listener` after each change by another tab. */
  listen(listener: (change: GalleryChange) => void): void {
    this.#tabs.addEventListener('message', ({ data }: MessageEvent<GalleryChange>) => listener(data))
  }

  /** Stores a picture. @returns the entry with its id */
  async add(entry: Omit<GalleryEntry, 'id'>, file: Blob): Promise<GalleryEntry> {
    const id = await this.#put(entry, file).catch(async (error: unknown) => {
      // Safari's private windows store no Blobs, but they store buffers.
      const { startImage, referenceImages } = entry
      const plain = {
        ...entry,
        ...(startImage === undefined ? {} : { startImage: await startImage.arrayBuffer() }),
        ...(referenceImages === undefined
          ? {}
          : { referenceImages: await Promise.all(referenceImages.map((picture) => picture.arrayBuffer())) }),
      }
      const buffer = await file.arrayBuffer()
      return this.#put(plain, buffer).catch(() => {
        throw error
      })
    })
    this.#announce({ added: id })
    return { ...entry, id }
  }

  /** Stores an entry and its file, or neither. */
  async #put(entry: object, file: Blob | ArrayBuffer): Promise<number> {
    const transaction = (await this.#database).transaction(['entries', 'files'], 'readwrite')
    const done = committed(transaction)
    // When a request below fails, that failure is the one to report.
    done.catch(() => {})
    try {
      const id = Number(await result(transaction.objectStore('entries').add(entry)))
      transaction.objectStore('files').put(file, id)
      await done
      return id
    } catch (error) {
      abort(transaction)
      throw error
    }
  }

  /** Up to `limit` pictures older than `before` (an id), newest first. */
  async list(limit: number, before = Infinity): Promise<readonly GalleryEntry[]> {
    const store = (await this.#database).transaction('entries').objectStore('entries')
    const entries: GalleryEntry[] = []
    const request = store.openCursor(before === Infinity ? null : IDBKeyRange.upperBound(before, true), 'prev')
    for (;;) {
      const cursor = await result(request)
      if (cursor === null) return entries
      const { startImage, referenceImages, ...stored } = cursor.value as Omit<GalleryEntry, 'id' | PictureKey> &
        Partial<Record<PictureKey, unknown>>
      const start = asBlob(startImage)
      const references = Array.isArray(referenceImages) ? referenceImages.flatMap((picture) => asBlob(picture) ?? []) : []
      entries.push({
        ...stored,
        ...(start === undefined ? {} : { startImage: start }),
        ...(references.length === 0 ? {} : { referenceImages: references }),
        id: Number(cursor.primaryKey),
      })
      if (entries.length === limit) return entries
      cursor.continue()
    }
  }

  /** A picture, or undefined if there is none. */
  async entry(id: number): Promise<GalleryEntry | undefined> {
    const [entry] = await this.list(1, id + 1)
    return entry?.id === id ? entry : undefined
  }

  /** The PNG file, or undefined if the browser has deleted it. */
  async file(id: number): Promise<Blob | undefined> {
    return asBlob(await result((await this.#database).transaction('files').objectStore('files').get(id)))
  }

  /** Deletes a picture. */
  async delete(id: number): Promise<void> {
    const transaction = (await this.#database).transaction(['entries', 'files'], 'readwrite')
    transaction.objectStore('entries').delete(id)
    transaction.objectStore('files').delete(id)
    await committed(transaction)
    this.#announce({ deleted: id })
  }

  #announce(change: GalleryChange): void {
    this.#tabs.postMessage(change)
  }
}

/** A stored picture as a Blob. A buffer has no type; it gets that of a PNG. */
function asBlob(value: unknown): Blob | undefined {
  if (value instanceof Blob) return value
  return value instanceof ArrayBuffer ? new Blob([value], { type: 'image/png' }) : undefined
}

/** Aborts a transaction that may have ended already. */
function abort(transaction: IDBTransaction): void {
  try {
    transaction.abort()
  } catch {
    // The transaction has already ended.
  }
}

async function open(name: string): Promise<IDBDatabase> {
  const request = indexedDB.open(name, 1)
  request.addEventListener('upgradeneeded', () => {
    request.result.createObjectStore('entries', { autoIncrement: true })
    request.result.createObjectStore('files')
  })
  return result(request)
}

function result<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.addEventListener('success', () => resolve(request.result), { once: true })
    request.addEventListener('error', () => reject(request.error ?? new Error('The browser gave no reason.')), { once: true })
  })
}

/** Waits for the commit: after a request succeeds, the transaction can still abort, for example when the quota is exceeded. */
function committed(transaction: IDBTransaction): Promise<void> {
  return new Promise((resolve, reject) => {
    transaction.addEventListener('complete', () => resolve())
    transaction.addEventListener('abort', () => reject(transaction.error ?? new Error('The transaction was aborted.')))
  })
}
