/** What all downloads of a hub share, and what one download consists of. Types only. */

import type { CreateHasher } from '../cache/file-hasher.js'
import type { LayeredStore } from '../cache/layered-store.js'
import type { Transport } from '../http/transport.js'
import type { ChunkWriter } from './chunk-writer.js'
import type { DownloadMemory } from './download-memory.js'
import type { ProgressMeter } from './progress-meter.js'
import type { RemoteFile } from '../http/file-location.js'

/** What all downloads of a hub share. */
export interface DownloadServices {
  readonly transport: Transport
  readonly store: LayeredStore
  /** Limits the bytes of chunks that are in memory, over all downloads. */
  readonly memory: DownloadMemory
  /** Limits the bytes of chunks that are hashed and stored at once, because the browser makes copies of these bytes. */
  readonly copyMemory: DownloadMemory
  readonly createHasher: CreateHasher
  /** The time in milliseconds since 1970. */
  readonly now: () => number
}

/** The download of one file from its server. */
export interface FileDownload {
  readonly file: RemoteFile
  readonly writer: ChunkWriter
  readonly meter: ProgressMeter
  readonly signal: AbortSignal
}

/** Gets the missing chunks of a file, from a server or by making them, and puts them into the writer. */
export type Fill = (writer: ChunkWriter, meter: ProgressMeter, signal: AbortSignal) => Promise<void>
