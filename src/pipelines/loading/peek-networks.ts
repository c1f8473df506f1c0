/** Networks by the headers of their weight files, of which nothing else is fetched: for plans, and to refuse a load before its download. */

import { transformTable } from '../../checkpoint/transforms/transform-table.js'
import { isAquatintError } from '../../errors.js'
import type { Hub } from '../../hub/hub.js'
import type { HeaderOnlySource, ReadOptions } from '../../hub/types.js'
import { orThrow } from '../../memory/refusal.js'
import { throwIfAborted } from '../../util/abort.js'
import type { Network } from '../bind-network.js'
import { loadNetworks, type MakeTable, type ReadParts } from './load-networks.js'
import { decidePlaces } from '../planning/place-networks.js'
import { rememberedTable } from './transform-weights.js'
import { Run } from '../run.js'
import type { LoadPipelineOptions } from '../types.js'
import type { OpenDevices } from './open-devices.js'
import { headersOnly } from '../../hub/downloads/header-only-file.js'

/** Where what was made of weights is kept, if anywhere. */
type Store = (() => Promise<Hub>) | undefined

/** The networks, whose tables are only to look at. `onOpen` is told of each weight file. @throws as `loadNetworks`; HubError `range-not-honoured` */
export async function peekNetworks(
  { sources }: Pick<ReadParts, 'sources'>,
  options: LoadPipelineOptions,
  store: Store,
  run: Run,
  onOpen?: (source: HeaderOnlySource) => void,
): Promise<ReadonlyMap<string, Network>> {
  const makeTable: MakeTable = async ({ read, transforms, contents }) => {
    const made = await rememberedTable(await store?.(), transforms, contents)
    return made ?? transformTable(await read(run.signal), transforms)
  }
  const peeked = sources.map((source) => ({ ...source, repository: headersOnly(source.repository, onOpen) }))
  return loadNetworks({ sources: peeked }, options, makeTable, run)
}

/** Weight files that need no look before they are fetched: all of them fit into WebAssembly's heap, in whatever form. */
const smallBytes = 2 ** 30

/**
 * Refuses what fits on no device before any weights are downloaded. What the look itself runs into is for the load to say, of bytes that are
 * verified. @throws DeviceError `does-not-fit` with bytes needed and offered; `buffer-too-large` with the tensor
 */
export async function refuseBeforeDownload(
  parts: Pick<ReadParts, 'sources'>,
  { devices, places, budget }: OpenDevices,
  options: LoadPipelineOptions,
  store: Store,
  signal: AbortSignal | undefined,
): Promise<void> {
  const limited = budget.named.size > 0 || [...devices.values()].some(({ info }) => info.capabilities.countsActivations)
  if (!limited && (await weightFileBytes(parts, { signal })) <= smallBytes) return
  let networks: ReadonlyMap<string, Network>
  try {
    networks = await peekNetworks(parts, options, store, new Run({ signal }))
  } catch (error) {
    throwIfAborted(signal)
    if (isAquatintError(error)) return
    throw error
  }
  orThrow(decidePlaces({ devices: [...devices.values()], places, budget, networks, options }))
}

/** Of all safetensors files that there are, whichever are used. */
async function weightFileBytes({ sources }: Pick<ReadParts, 'sources'>, options: ReadOptions): Promise<number> {
  const repositories = [...new Set(sources.map(({ repository }) => repository))]
  const files = await Promise.all(repositories.map((repository) => repository.files(options)))
  return files.flat().reduce((sum, { path, size }) => sum + (path.endsWith('.safetensors') ? size : 0), 0)
}
