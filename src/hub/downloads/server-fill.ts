/** Fills a file from its server: in parallel pieces when the server supports ranges, as one stream when it does not. */

import { mayLackRanges } from '../http/piece-fetch.js'
import type { DownloadServices, Fill } from './download-services.js'
import { fetchInPieces } from './parallel-pieces.js'
import { streamChunks } from './whole-stream.js'
import type { RemoteFile } from '../http/file-location.js'

/** A fill that downloads a file's missing chunks. */
export function fillFromServer(services: DownloadServices, file: RemoteFile): Fill {
  return async (writer, meter, signal) => {
    if (writer.missing.length === 0) return
    const download = { file, writer, meter, signal }
    try {
      await fetchInPieces(services, download)
    } catch (error) {
      if (!mayLackRanges(error, file)) throw error
      meter.begin(writer.bytesPresent)
      await streamChunks(services, download)
    }
  }
}
