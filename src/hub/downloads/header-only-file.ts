/**
 * Reads the header of a file on a server without downloading the whole file. Nothing is stored or verified. To load a model's weights, open
 * the file itself instead.
 */

import { HubError } from '../../errors.js'
import { checkReadRange } from '../cache/cached-source.js'
import { fetchPiece, mayLackRanges, RangesIgnored } from '../http/piece-fetch.js'
import type { Transport } from '../http/transport.js'
import type { ByteRange, ByteSource, HeaderOnlySource, OpeningCost, OpenOptions, ReadOptions, Repository } from '../types.js'
import type { RemoteFile } from '../http/file-location.js'

/** Bytes that the first read fetches. Most safetensors headers are shorter, so that one request suffices. */
const firstBytes = 256 << 10

/** A file on a server. A read within the first 256 KiB fetches all of them, once; any other read fetches its own bytes each time. */
export class HeaderOnlyFile implements ByteSource {
  readonly byteLength: number
  readonly #transport: Transport
  readonly #file: RemoteFile
  #head: Promise<Uint8Array<ArrayBuffer>> | undefined
  /** Whether the server honours ranges, as far as is known. */
  #ranges = true

  constructor(transport: Transport, file: RemoteFile) {
    this.#transport = transport
    // Validators are not compared: nothing that is read here is stored, and some hosts send another validator with every answer.
    this.#file = { ...file, validator: undefined }
    this.byteLength = file.size
  }

  /** @throws HubError `range-not-honoured` when the server sends whole files only and the range is far from the beginning */
  async read(range: ByteRange, options: ReadOptions = {}): Promise<Uint8Array<ArrayBuffer>> {
    checkReadRange(range, this.byteLength, this.#file.path)
    if (range.end > Math.min(firstBytes, this.byteLength)) return this.#fetch(range, options)
    const head = (this.#head ??= this.#fetch({ begin: 0, end: Math.min(firstBytes, this.byteLength) }, options))
    // Do not remember a failure: the next read requests the bytes again.
    head.catch(() => {
      if (this.#head === head) this.#head = undefined
    })
    return (await head).slice(range.begin, range.end)
  }

  async #fetch(range: ByteRange, { signal = new AbortController().signal }: ReadOptions): Promise<Uint8Array<ArrayBuffer>> {
    const target = new Uint8Array(range.end - range.begin)
    if (target.byteLength === 0) return target
    const piece = { file: this.#file, range, target, signal, onBytes: () => {} }
    try {
      await fetchPiece(this.#transport, { ...piece, fromWhole: this.#ranges ? 'sent' : 'requested' })
    } catch (error) {
      if (this.#ranges && !(error instanceof RangesIgnored) && mayLackRanges(error, this.#file)) {
        this.#ranges = false
        return this.#fetch(range, { signal })
      }
      if (!(error instanceof RangesIgnored)) throw error
      const { path, repository } = this.#file
      const message = `${repository}: the header of ${path} cannot be read alone, because the server does not support range requests.`
      throw new HubError('range-not-honoured', message, { path })
    }
    return target
  }
}

/**
 * A view of a repository. If the repository supports it, the view opens each weight file for its header only, and keeps it open for later
 * calls. `onOpen` receives the bytes that opening each file would download and store.
 */
export function headersOnly(repository: Repository, onOpen: (cost: OpeningCost, path: string) => void = () => {}): Repository {
  const { id, revision } = repository
  const openHeaderOnly = repository.openHeaderOnly?.bind(repository)
  const files = (options?: ReadOptions) => repository.files(options)
  if (openHeaderOnly === undefined) return { id, revision, files, open: (path, options) => repository.open(path, options) }
  const opened = new Map<string, HeaderOnlySource>()
  const openHeader = async (path: string, options?: OpenOptions) => {
    const known = opened.get(path)
    if (known !== undefined) return known
    const source = await openHeaderOnly(path, options)
    // Another caller may have opened the file meanwhile.
    const first = opened.get(path)
    if (first !== undefined) return first
    opened.set(path, source)
    onOpen(source.cost((await options?.choose?.(source, options)) ?? null), path)
    return source
  }
  return {
    id,
    revision,
    files,
    open: (path, options) => (/\.(?:safetensors|gguf)$/.test(path) ? openHeader(path, options) : repository.open(path, options)),
    openHeaderOnly: openHeader,
  }
}
