/** Opens what a pipeline of any family needs: repository, parts, device, and the decision where weights stay. */

import { readModelIndex, type ModelIndex } from '../checkpoint/model-index.js'
import { CheckpointError, HubError, UnsupportedError } from '../errors.js'
import { Hub } from '../hub/hub.js'
import { openRepository, type OpenRepository } from '../hub/open-repository.js'
import type { Repository } from '../hub/types.js'
import { checkComponentOptions, type OpenByName } from './component-sources.js'
import type { DeviceHosts } from './device-hosts.js'
import { checkDType } from './dtypes.js'
import { loadParts, measureNetwork, type LoadedParts, type PipelineSpec, type Quantize } from './pipeline-loading.js'
import { checkPlacing, denoiserOf, openDevices, placeNetworks, type OpenDevices } from './place-networks.js'
import { quantizeWeights } from './quantize-weights.js'
import { Run, type CallHooks } from './run-hooks.js'
import type { DeviceName } from '../runtime/types.js'
import type { LoadPipelineOptions, PipelineInfo, PipelineMemory } from './types.js'

/** Options of `fromPretrained` inside the worker. */
export interface OpenPipelineOptions extends LoadPipelineOptions, CallHooks {
  /** The worker's hub; one is opened for this pipeline when absent. */
  readonly hub?: Hub | undefined
  /** What relative URLs start from. */
  readonly baseUrl?: string | undefined
}

/** Everything a pipeline class is constructed from. */
export interface OpenedPipeline {
  readonly spec: PipelineSpec
  readonly parts: LoadedParts
  readonly hosts: DeviceHosts
  /** Lets the cache evict the repositories' files again. */
  readonly close: () => void
}

/**
 * Opens a pipeline of one of the families in `specs`, by its repository's model_index.json.
 * @throws UnsupportedError `unsupported-class`, `unsupported-config`; InputError; HubError; CheckpointError; DeviceError; AbortError
 */
export async function openPipeline(
  repo: string | Repository,
  options: OpenPipelineOptions,
  specs: readonly PipelineSpec[],
): Promise<OpenedPipeline> {
  const failing = new AbortController()
  const signal = options.signal === undefined ? failing.signal : AbortSignal.any([options.signal, failing.signal])
  const run = new Run({ ...options, signal })
  checkDType(options.dtype)
  checkComponentOptions(options)
  checkPlacing(options)
  run.status('resolving')
  const opened: OpenRepository[] = []
  const releases: (() => void)[] = []
  const close = () => {
    for (const repository of opened) repository.close()
    for (const release of releases) release()
  }
  const hub = hubOf(options, run)
  let placing: OpenDevices | undefined
  try {
    const open = opener(hub, options, opened, run)
    const repository = typeof repo === 'string' ? await open(repo, options.revision) : repo
    const index = await readModelIndex(repository, { signal: run.signal })
    const spec = specs.find((candidate) => candidate.className === index.className)
    if (spec === undefined) {
      const supported = specs.map((candidate) => candidate.className)
      throw new UnsupportedError(
        'unsupported-class',
        `The repository is for the pipeline ${index.className}, which is not supported; supported: ${supported.join(', ')}.`,
        { component: 'pipeline', className: index.className, supported },
      )
    }
    placing = await openDevices(options, networkNames(spec, index, options))
    // A repository that came without a hub has no cache to keep the small form in.
    const store = options.hub !== undefined || typeof repo === 'string' ? hub : undefined
    const quantize: Quantize = async (request) => {
      const quantized = await quantizeWeights(request, await store?.(), run)
      if (signal.aborted) quantized.release()
      else releases.push(quantized.release)
      return quantized.table
    }
    const parts = await loadParts(repository, index, spec, options, open, quantize, run)
    const hosts = await placeNetworks(placing, parts.networks, options)
    run.status('ready')
    return { spec, parts, hosts, close }
  } catch (error) {
    // Without one part the others are of no use: their downloads end too.
    failing.abort(error)
    // What the cache remembers of a repository that cannot be used must not outlive the repository's mending.
    if (blamesRepository(error)) await Promise.all(opened.map((repository) => repository.doubt()))
    close()
    for (const device of placing?.devices.values() ?? []) await device.dispose()
    throw error
  }
}

/** The networks that the pipeline will have: those of its repository, and what the caller puts in place or leaves out. */
function networkNames(spec: PipelineSpec, index: ModelIndex, { components = {} }: LoadPipelineOptions): string[] {
  return Object.keys(spec.networks).filter((name) => {
    const reference = Object.hasOwn(components, name) ? components[name] : undefined
    return reference === undefined ? (index.components.get(name) ?? null) !== null : reference !== null
  })
}

function blamesRepository(error: unknown): boolean {
  return (
    error instanceof CheckpointError ||
    error instanceof UnsupportedError ||
    (error instanceof HubError && (error.code === 'file-not-found' || error.code === 'file-too-large'))
  )
}

/** The caller's hub, or one that is opened when it is first needed. */
function hubOf(options: OpenPipelineOptions, run: Run): () => Promise<Hub> {
  let hub: Promise<Hub> | undefined
  return () => {
    hub ??=
      options.hub === undefined
        ? Hub.open({ onStorageTrouble: (error) => run.warn(error.code, error.message) })
        : Promise.resolve(options.hub)
    return hub
  }
}

/** Opens repositories by name, each once. */
function opener(hub: () => Promise<Hub>, options: OpenPipelineOptions, opened: OpenRepository[], run: Run): OpenByName {
  const byName = new Map<string, Promise<OpenRepository>>()
  return async (repo, revision) => {
    const shared = await hub()
    const key = JSON.stringify([repo, revision ?? null])
    let repository = byName.get(key)
    if (repository === undefined) {
      const { endpoint, token, baseUrl, revalidate } = options
      const { signal } = run
      repository = openRepository(shared, repo, { revision, endpoint, token, baseUrl, revalidate, signal }).then((found) => {
        opened.push(found)
        if (signal?.aborted === true) found.close()
        return found
      })
      byName.set(key, repository)
    }
    return repository
  }
}

/** What `PipelineInfo` says of any family. */
export function describePipeline(
  { spec, parts, hosts }: OpenedPipeline,
  defaults: PipelineInfo['defaults'],
  scheduler: PipelineInfo['scheduler'],
): PipelineInfo {
  const denoiser = denoiserOf(parts.networks)
  const placeOf = (name: string): DeviceName => hosts.of(name).device.info.name
  const { device, dtype, memoryBudget } = hosts.of(denoiser?.name ?? 'vae')
  return {
    className: spec.className,
    repo: parts.repository.id,
    revision: parts.repository.revision,
    device: device.info,
    dtype: device.writeOptions({ dtype, granularity: 'block' }).dtype,
    devices: hosts.devices,
    components: Object.fromEntries(
      [...parts.networks.values()].map((network) => {
        const { name, className, repo, quantization } = network
        return [name, { className, repo, device: placeOf(name), quantization, ...measureNetwork(network) }]
      }),
    ),
    defaults,
    scheduler,
    memoryBudget,
    imageToImage: [...(parts.networks.get('vae')?.table.keys() ?? [])].some((name) => name.startsWith('encoder.')),
  }
}

/** Calls back with the memory account while `work` runs, and once at its end. */
export async function reportingMemory<T>(hosts: DeviceHosts, run: Run, work: () => Promise<T>): Promise<T> {
  const report = (memory: PipelineMemory) => run.report({ type: 'memory', memory })
  const stop = hosts.watchMemory(report)
  try {
    return await work()
  } finally {
    stop()
    report(hosts.memory)
  }
}
