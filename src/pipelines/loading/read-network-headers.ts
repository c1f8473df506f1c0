/**
 * Describes networks from the headers of their weight files alone, without tensors: for plans, and to refuse a pipeline that fits on no
 * device before its weights are downloaded.
 */

import { transformTable } from '../../checkpoint/transforms/transform-table.js'
import { isAquatintError } from '../../errors.js'
import { headersOnly } from '../../hub/downloads/header-only-file.js'
import type { Hub } from '../../hub/hub.js'
import type { OpeningCost, ReadOptions, Repository } from '../../hub/types.js'
import { orThrow } from '../../memory/refusal.js'
import { throwIfAborted } from '../../util/abort.js'
import type { Network } from '../bind-network.js'
import { decidePlaces } from '../planning/place-networks.js'
import { Run } from '../run.js'
import type { LoadPipelineOptions } from '../types.js'
import { loadNetworks, type LoadNetworksRequest, type MakeTable } from './load-networks.js'
import type { OpenDevices } from './open-devices.js'
import type { ReadParts } from './read-parts.js'
import { plannedSize, type GenerationSpec } from './plan-networks.js'
import { rememberedTable } from './transform-weights.js'

/** A quantized copy of a network's weights. */
export interface WeightsCopy {
  readonly bytes: number
  /** The original files that are deleted once the copy is made. */
  readonly replaces: readonly string[]
}

/** What {@link readNetworkHeaders} reads. */
export interface NetworkHeadersRequest extends Omit<LoadNetworksRequest, 'makeTable'> {
  /** Opens the hub whose cache may hold prepared files. Absent if nothing is cached. */
  readonly store?: (() => Promise<Hub>) | undefined
  /** Called for each weight file, with the bytes that opening it would download and store, and with `<repository id>/<path>`. */
  readonly onOpen?: ((cost: OpeningCost, path: string) => void) | undefined
  /** Called with the size of each quantized copy that is or would be in the cache, and the paths of the originals that are deleted for it. */
  readonly onCopy?: ((copy: WeightsCopy) => void) | undefined
}

/**
 * Reads names, types and shapes of the networks' weights. If an earlier load has cached a quantized copy of a network, the copy
 * is described without opening the original. Reading a tensor of these tables may fail or fetch unverified bytes.
 * @throws as {@link loadNetworks}; HubError `range-not-honoured`
 */
export async function readNetworkHeaders(request: NetworkHeadersRequest): Promise<ReadonlyMap<string, Network>> {
  const { store, onOpen, onCopy, run } = request
  const makeTable: MakeTable = async (made) => {
    const remembered = await rememberedTable(await store?.(), made)
    const table = remembered ?? transformTable(await made.read(run.signal), made.transforms)
    const bytes = [...table.values()].reduce((sum, { begin, end }) => sum + end - begin, 0)
    onCopy?.({ bytes, replaces: made.drop === undefined ? [] : made.paths })
    return table
  }
  const views = new Map<Repository, Repository>()
  const view = (repository: Repository) => {
    const known = views.get(repository) ?? headersOnly(repository, (cost, path) => onOpen?.(cost, `${repository.id}/${path}`))
    views.set(repository, known)
    return known
  }
  const sources = request.sources.map((source) => ({ ...source, files: source.files.through(view) }))
  return loadNetworks({ ...request, sources, makeTable })
}

/** Weights of at most this size fit into WebAssembly's heap whatever their type, so their headers need not be read first. */
const smallBytes = 2 ** 30

/** What {@link refuseBeforeDownload} checks. */
export interface FitRequest extends Pick<NetworkHeadersRequest, 'store'>, Pick<ReadParts, 'sources'> {
  readonly options: LoadPipelineOptions
  readonly placing: OpenDevices
  readonly spec: GenerationSpec
  readonly signal: AbortSignal | undefined
}

/**
 * Before any weights are downloaded, refuses a pipeline that fits on no device. The bytes that are read here are not verified, so other
 * errors of reading headers are ignored. The load that follows reads verified bytes, and throws such an error if it recurs. Returns the
 * networks if it has read their headers.
 * @throws DeviceError `does-not-fit` with bytes needed and offered; `buffer-too-large` with the tensor
 */
export async function refuseBeforeDownload({
  sources,
  options,
  store,
  placing,
  spec,
  signal,
}: FitRequest): Promise<ReadonlyMap<string, Network> | undefined> {
  const { devices, places, budget } = placing
  const limited = budget.named.size > 0 || [...devices.values()].some(({ info }) => info.capabilities.countsActivations)
  if (!limited && (await weightFileBytes(sources, { signal })) <= smallBytes) return undefined
  let networks: ReadonlyMap<string, Network>
  try {
    networks = await readNetworkHeaders({ sources, options, store, run: new Run({ signal }) })
  } catch (error) {
    throwIfAborted(signal)
    if (isAquatintError(error)) return undefined
    throw error
  }
  const wanted = () => plannedSize(networks, options.prepareFor ?? {}, spec).latent
  orThrow(decidePlaces({ devices: [...devices.values()], places, budget, networks, options, wanted }))
  return networks
}

/** Bytes of all weight files in the networks' repositories, used or not. */
async function weightFileBytes(sources: ReadParts['sources'], options: ReadOptions): Promise<number> {
  const repositories = [...new Set(sources.map(({ files }) => files.repository))]
  const files = await Promise.all(repositories.map((repository) => repository.files(options)))
  return files.flat().reduce((sum, { path, size }) => sum + (/\.(?:safetensors|gguf)$/.test(path) ? size : 0), 0)
}
