/** `aquatint inspect --embedding`: whether embeddings (textual inversion) fit a checkpoint. */

import { stat } from 'node:fs/promises'
import { basename } from 'node:path'
import { isAquatintError } from '../../src/errors.js'
import { Hub } from '../../src/hub/hub.js'
import type { Network } from '../../src/pipelines/bind-network.js'
import { checkEmbedding } from '../../src/pipelines/generation/embeddings.js'
import { openEmbedding, type OpenedEmbedding } from '../../src/pipelines/loading/adapters/open-embedding.js'
import { Run } from '../../src/pipelines/run.js'
import { DiskRepository } from '../disk-repository.js'
import type { CommandIO } from '../output.js'
import type { RemoteOptions } from './find-repository.js'

/** An embedding that the user named with `--embedding`. */
export interface NamedEmbedding {
  readonly source: string
  readonly opened: OpenedEmbedding
}

/** The description of an embedding in `aquatint inspect --json`. */
export type InspectedEmbedding = { readonly source: string; readonly token: string } & (
  | {
      readonly fits: true
      /** The text encoders that the embedding belongs to. */
      readonly components: readonly string[]
      /** How many tokens the embedding's word becomes. */
      readonly vectors: number
    }
  | { readonly fits: false; readonly code: string; readonly message: string }
)

/** Reads embeddings from files on disk, from URLs of files, and from repositories on the Hub. @throws the errors of `openEmbedding` */
export async function openEmbeddings(
  sources: readonly string[],
  { config: _config, revision: _revision, ...options }: RemoteOptions,
  io: CommandIO,
): Promise<readonly NamedEmbedding[]> {
  const embeddings: NamedEmbedding[] = []
  for (const source of sources) {
    const isOnDisk = (await stat(source).catch(() => null))?.isFile() === true
    const repository = isOnDisk ? DiskRepository.ofFile(source) : undefined
    const request = { hub: openHub, options, run: new Run({ signal: io.signal }) }
    try {
      const file = repository === undefined ? source : { repository, path: basename(source) }
      embeddings.push({ source, opened: await openEmbedding(file, request) })
    } finally {
      await repository?.close()
    }
  }
  return embeddings
}

function openHub(): Promise<Hub> {
  return Hub.open({ store: null })
}

/** Compares embeddings with the text encoders of a checkpoint. */
export function inspectEmbeddings(
  embeddings: readonly NamedEmbedding[],
  networks: ReadonlyMap<string, Network>,
): readonly InspectedEmbedding[] {
  return embeddings.map(({ source, opened }) => {
    const { token, vectors } = opened
    try {
      checkEmbedding(opened, networks)
      return { source, token, fits: true, components: [...vectors.keys()], vectors: [...vectors.values()][0]?.length ?? 0 }
    } catch (error) {
      if (!isAquatintError(error)) throw error
      return { source, token, fits: false, code: error.code, message: error.message }
    }
  })
}
