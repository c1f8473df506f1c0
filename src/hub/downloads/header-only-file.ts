/**
 * A file of a server of which only what is read is fetched, for looking into headers: nothing of it is stored, and nothing verified. To
 * load a model's weights a file is opened whole instead.
 */

import { HubError } from '../../errors.js'
import { checkReadRange } from '../cache/cached-source.js'
import { fetchPiece, RangesIgnored, type Transport } from '../http/piece-fetch.js'
import type { RemoteFile } from '../remote-file.js'
import type { ByteRange, HeaderOnlySource, ReadOptions, Repository } from '../types.js'

/** Bytes fetched with the first read: most safetensors headers are shorter, so that one request is enough. */
const firstBytes = 256 << 10

export class HeaderOnlyFile implements HeaderOnlySource {
  readonly isCached = false
  readonly byteLength: number
  readonly #transport: Transport
  readonly #file: RemoteFile
  #head: Promise<Uint8Array<ArrayBuffer>> | undefined

  constructor(transport: Transport, file: RemoteFile) {
    this.#transport = transport
    this.#file = file
    this.byteLength = file.size
  }

  /** @throws HubError `range-not-honoured` where the server sends whole files only */
  async read(range: ByteRange, options: ReadOptions = {}): Promise<Uint8Array<ArrayBuffer>> {
    checkReadRange(range, this.byteLength, this.#file.path)
    if (range.end > Math.min(firstBytes, this.byteLength)) return this.#fetch(range, options)
    const head = (this.#head ??= this.#fetch({ begin: 0, end: Math.min(firstBytes, this.byteLength) }, options))
    // Whoever reads later asks the server anew.
    head.catch(() => {
      if (this.#head === head) this.#head = undefined
    })
    return (await head).slice(range.begin, range.end)
  }

  async #fetch(range: ByteRange, { signal }: ReadOptions): Promise<Uint8Array<ArrayBuffer>> {
    const bytes = new Uint8Array(range.end - range.begin)
    if (bytes.byteLength === 0) return bytes
    try {
      await fetchPiece(this.#transport, this.#file, range, bytes, signal ?? new AbortController().signal, () => {})
    } catch (error) {
      if (!(error instanceof RangesIgnored)) throw error
      const { path, repository } = this.#file
      throw new HubError(
        'range-not-honoured',
        `${repository}: the server of ${path} sends whole files only, so that its header cannot be read alone.`,
        { path },
      )
    }
    return bytes
  }
}

/** The same repository, whose safetensors files are peeked at where it can; `onOpen` is told of each. */
export function headersOnly(repository: Repository, onOpen: (source: HeaderOnlySource) => void = () => {}): Repository {
  return {
    id: repository.id,
    revision: repository.revision,
    files: (options) => repository.files(options),
    open: async (path, options) => {
      if (!path.endsWith('.safetensors') || repository.openHeaderOnly === undefined) return repository.open(path, options)
      const source = await repository.openHeaderOnly(path, options)
      onOpen(source)
      return source
    },
  }
}
