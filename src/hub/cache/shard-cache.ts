/**
 * Chunks and records in IndexedDB, through idb-keyval: one database for the chunks and one for the records, since idb-keyval opens one
 * store per database. No other file uses IndexedDB for the cache. Use it from a worker: Chromium fails to store many Blobs from a page's
 * main thread.
 */

import { createStore, del, get, getMany, promisifyRequest, type UseStore } from 'idb-keyval'
import { StorageError, type StorageErrorCode } from '../../errors.js'
import type { ChunkStore } from './chunk-store.js'
import type { TransferSettings } from '../settings.js'
/** Names of the databases. They hold users' caches: do not change them. */
const chunkDatabase = 'aquatint-chunks'
const recordDatabase = 'aquatint-records'

/**
 * Chunks that are read in one transaction. Reading a stored Blob gives a handle only, but where buffers are stored instead of Blobs, their
 * bytes are loaded into memory.
 */
const keysAtOnce = 16

/** Opens the databases and tests them. @throws StorageError `storage-unavailable` when IndexedDB is absent or does not open */
export async function openShardCache(settings: TransferSettings): Promise<ChunkStore> {
  if ((globalThis.indexedDB as IDBFactory | undefined) === undefined)
    throw unavailable('IndexedDB does not exist here, as in some private windows')
  const cache = new ShardCache(settings)
  let timer: ReturnType<typeof setTimeout> | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(unavailable(`it did not open within ${settings.storeOpenMs / 1000} s`)), settings.storeOpenMs)
  })
  try {
    await Promise.race([cache.probe(), late])
    return cache
  } catch (error) {
    throw error instanceof StorageError && error.code === 'storage-unavailable'
      ? error
      : unavailable('a test of it failed', error)
  } finally {
    clearTimeout(timer)
  }
}

function unavailable(why: string, cause?: unknown): StorageError {
  return new StorageError(
    'storage-unavailable',
    `The browser's storage cannot be used: ${why}. Models are kept in memory and downloaded again the next time.`,
    {},
    cause,
  )
}

class ShardCache implements ChunkStore {
  readonly #settings: TransferSettings
  #chunks = createStore(chunkDatabase, 'chunks')
  #records = createStore(recordDatabase, 'records')
  /** Whether the browser can store Blobs. Safari cannot in private windows. */
  #blobs = true

  constructor(settings: TransferSettings) {
    this.#settings = settings
  }

  async probe(): Promise<void> {
    await this.#use('opening', () => get('probe', this.#records))
    // A random key, since other tabs may be testing at the same time.
    const key = ['', Math.random()]
    try {
      await set(this.#chunks, key, new Blob([new Uint8Array(1)]))
      const value: unknown = await get(key, this.#chunks)
      // If the value is absent, the user has cleared the storage meanwhile. That does not show that the browser cannot store Blobs.
      const isBlob = value instanceof Blob && (await value.arrayBuffer()).byteLength === 1
      if (value !== undefined && !isBlob) this.#blobs = false
      await del(key, this.#chunks)
    } catch (error) {
      const failure = storageError(error, 'storing a Blob')
      // A full storage does not show that the browser cannot store Blobs, and the stored files can still be read.
      if (failure.code !== 'quota-exceeded') this.#blobs = false
    }
  }

  async chunks(file: string): Promise<Map<number, Blob>> {
    return this.#use('reading', async () => {
      const keys = await this.#chunks('readonly', (store) => promisifyRequest(store.getAllKeys(allOf(file))))
      const found = new Map<number, Blob>()
      for (let at = 0; at < keys.length; at += keysAtOnce) {
        const some = keys.slice(at, at + keysAtOnce)
        const values = await getMany<unknown>(some, this.#chunks)
        for (const [k, key] of some.entries()) {
          const blob = asBlob(values[k])
          if (blob !== undefined) found.set((key as [string, number])[1], blob)
        }
      }
      return found
    })
  }

  async chunkIndexes(file: string): Promise<number[]> {
    const keys = await this.#use('listing', () =>
      this.#chunks('readonly', (store) => promisifyRequest(store.getAllKeys(allOf(file)))),
    )
    return keys.map((key) => (key as [string, number])[1])
  }

  async chunk(file: string, index: number): Promise<Blob | undefined> {
    return this.#use('reading', async () => asBlob(await get([file, index], this.#chunks)))
  }

  async putChunk(file: string, index: number, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    const put = (value: Blob | ArrayBuffer) => this.#use('writing', () => set(this.#chunks, [file, index], value))
    const whole = () => (bytes.byteLength === bytes.buffer.byteLength ? bytes.buffer : bytes.slice().buffer)
    if (!this.#blobs) return put(whole())
    for (const wait of this.#settings.storeRetryMs) {
      try {
        return await put(new Blob([bytes]))
      } catch (error) {
        if (!(error instanceof StorageError) || error.code !== 'write-failed') throw error
        await new Promise((resolve) => setTimeout(resolve, wait))
      }
    }
    return put(whole())
  }

  async deleteChunks(file: string, indexes?: readonly number[]): Promise<void> {
    await this.#use('deleting', () =>
      this.#chunks('readwrite', (store) => {
        if (indexes === undefined) store.delete(allOf(file))
        else for (const index of indexes) store.delete([file, index])
        return promisifyRequest(store.transaction)
      }),
    )
  }

  async chunkFiles(): Promise<string[]> {
    const keys = await this.#use('listing', () => this.#chunks('readonly', (store) => promisifyRequest(store.getAllKeys())))
    return [...new Set(keys.map((key) => (key as [string, number])[0]))].filter((file) => file !== '')
  }

  async record(key: string): Promise<unknown> {
    return this.#use('reading', () => get<unknown>(key, this.#records))
  }

  async putRecord(key: string, value: unknown): Promise<void> {
    await this.#use('writing', () => set(this.#records, key, value))
  }

  async updateRecord(key: string, change: (old: unknown) => unknown): Promise<void> {
    await this.#use('writing', () =>
      this.#records('readwrite', async (store) => {
        const changed = change(await promisifyRequest<unknown>(store.get(key)))
        if (changed === undefined) await promisifyRequest(store.transaction)
        else await putAndCommit(store, changed, key)
      }),
    )
  }

  async deleteRecord(key: string): Promise<void> {
    await this.#use('deleting', () => del(key, this.#records))
  }

  async records(prefix: string): Promise<[string, unknown][]> {
    const range = IDBKeyRange.bound(prefix, `${prefix}\uFFFF`)
    return this.#use('listing', () =>
      this.#records('readonly', async (store) => {
        const [keys, values] = await Promise.all([
          promisifyRequest(store.getAllKeys(range)),
          promisifyRequest(store.getAll(range)),
        ])
        return keys.map((key, index): [string, unknown] => [key as string, values[index]])
      }),
    )
  }

  /** Runs a database operation, and once more on new connections when the browser has closed the previous ones. */
  async #use<T>(doing: string, run: () => Promise<T>): Promise<T> {
    try {
      return await run()
    } catch (error) {
      const failure = storageError(error, doing)
      if (failure.code !== 'connection-lost') throw failure
      this.#chunks = createStore(chunkDatabase, 'chunks')
      this.#records = createStore(recordDatabase, 'records')
      try {
        return await run()
      } catch (again) {
        throw storageError(again, doing)
      }
    }
  }
}

async function set(database: UseStore, key: IDBValidKey, value: unknown): Promise<void> {
  await database('readwrite', (store) => putAndCommit(store, value, key))
}

/**
 * Puts a value and waits until it is stored. It waits for the request too: over the quota, Firefox fails the request while the transaction has
 * no error yet; Chromium fails only the transaction.
 */
async function putAndCommit(store: IDBObjectStore, value: unknown, key: IDBValidKey): Promise<void> {
  await Promise.all([promisifyRequest(store.put(value, key)), promisifyRequest(store.transaction)])
}

function allOf(file: string): IDBKeyRange {
  // Arrays sort after numbers, so the upper bound is above every index.
  return IDBKeyRange.bound([file], [file, []])
}

function asBlob(value: unknown): Blob | undefined {
  if (value instanceof Blob) return value
  return value instanceof ArrayBuffer ? new Blob([value]) : undefined
}

/**
 * A StorageError for whatever IndexedDB threw, which may be null. Its code:
 * `quota-exceeded`: the quota is used up; `write-failed`: the browser rejected this value, but may accept it later or in another form;
 * `connection-lost`: the browser closed the database, which can be opened again; `storage-unreadable`: the record exists but its bytes
 * cannot be read; `storage-failed`: any other error. @param doing completes "The browser's storage failed …", such as `reading`
 */
export function storageError(error: unknown, doing: string): StorageError {
  if (error instanceof StorageError) return error
  const name = error instanceof Error || error instanceof DOMException ? error.name : ''
  const text = error instanceof Error || error instanceof DOMException ? error.message : ''
  const shown = name === '' ? 'without a reason' : `${name}${text === '' ? '' : `: ${text}`}`
  return new StorageError(
    codeOf(name, text),
    `The browser's storage failed while ${doing} (${shown}).`,
    { name },
    error ?? undefined,
  )
}

function codeOf(name: string, text: string): StorageErrorCode {
  // After a write over the quota, Firefox allows the next transaction of that connection only to delete.
  if (name === 'QuotaExceededError' || /did not allow mutations/i.test(text)) return 'quota-exceeded'
  if (name === 'InvalidStateError' || name === 'AbortError' || /connection|closed|closing/i.test(text)) return 'connection-lost'
  if (name === 'DataError' || name === 'DataCloneError' || name === 'EncodingError') return 'write-failed'
  if (name === 'NotReadableError' || name === 'NotFoundError' || /failed to read large/i.test(text)) return 'storage-unreadable'
  // WebKit and Chromium throw UnknownError for disk errors that may not happen the next time.
  return name === 'UnknownError' || name === '' ? 'connection-lost' : 'storage-failed'
}
