/**
 * A repository on a Hub or a web server of which only the parts that are read are fetched: headers, not weights. The hub's own
 * repositories download whole files, since they are for loading models; this one is for looking.
 */

import { fetchPiece, RangesIgnored } from '../src/hub/piece-fetch.js'
import { FileLocation } from '../src/hub/file-location.js'
import { HubError } from '../src/errors.js'
import { resolveUrl, tokenHeaders } from '../src/hub/hub-api.js'
import { Hub } from '../src/hub/hub.js'
import { encodePath } from '../src/hub/names.js'
import { openRepository, parseReference } from '../src/hub/open-repository.js'
import type { RemoteFile } from '../src/hub/remote-file.js'
import type { ByteRange, ByteSource, ReadOptions, Repository } from '../src/hub/types.js'

export interface RemoteOptions {
  /** Base URL of the Hub with a slash at its end. */
  readonly endpoint: string
  readonly revision?: string | undefined
  readonly token?: string | undefined
  readonly signal: AbortSignal
}

/** Bytes fetched with the first read of a file: most safetensors headers are shorter, so that one request is enough. */
const firstBytes = 256 << 10

/** @throws as the hub's openRepository */
export async function openRemote(reference: string, options: RemoteOptions): Promise<Repository> {
  const { endpoint, revision, token, signal } = options
  const hub = await Hub.open({ store: null })
  const repository = await openRepository(hub, reference, { endpoint, revision, token, signal })
  const named = parseReference(reference, endpoint, undefined)
  const locate = (path: string) =>
    'base' in named
      ? new FileLocation(named.base + encodePath(path))
      : new FileLocation(resolveUrl({ endpoint, id: named.id }, repository.revision, path), tokenHeaders(token))
  return {
    id: repository.id,
    revision: repository.revision,
    files: (options) => repository.files(options),
    open: async (path, options) => {
      const found = (await repository.files(options)).find((file) => file.path === path)
      if (found === undefined) throw new HubError('file-not-found', `${repository.id} has no file ${path}.`, { path })
      return new RangedSource(
        hub,
        { repository: repository.id, path, size: found.size, key: path, location: locate(path) },
        signal,
      )
    },
  }
}

class RangedSource implements ByteSource {
  readonly byteLength: number
  readonly #hub: Hub
  readonly #file: RemoteFile
  readonly #signal: AbortSignal
  #head: Promise<Uint8Array<ArrayBuffer>> | undefined

  constructor(hub: Hub, file: RemoteFile, signal: AbortSignal) {
    this.#hub = hub
    this.#file = file
    this.#signal = signal
    this.byteLength = file.size
  }

  async read(range: ByteRange, options?: ReadOptions): Promise<Uint8Array<ArrayBuffer>> {
    if (range.end > Math.min(firstBytes, this.byteLength)) return this.#fetch(range, options)
    this.#head ??= this.#fetch({ begin: 0, end: Math.min(firstBytes, this.byteLength) }, options)
    return (await this.#head).slice(range.begin, range.end)
  }

  async #fetch(range: ByteRange, options?: ReadOptions): Promise<Uint8Array<ArrayBuffer>> {
    const bytes = new Uint8Array(range.end - range.begin)
    if (bytes.byteLength === 0) return bytes
    try {
      await fetchPiece(this.#hub, this.#file, range, bytes, options?.signal ?? this.#signal, () => {})
    } catch (error) {
      if (!(error instanceof RangesIgnored)) throw error
      throw new HubError(
        'range-not-honoured',
        `The server of ${this.#file.path} sends whole files only: its headers cannot be read alone.`,
        {
          path: this.#file.path,
        },
      )
    }
    return bytes
  }
}
