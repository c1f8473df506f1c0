/**
 * The first part of every way to a pipeline: its repository is opened, its family found by model_index.json, and devices opened for its
 * networks. What is read of it then is for the caller to say.
 */

import { readModelIndex, type ModelIndex } from '../../checkpoint/layouts/model-index.js'
import { CheckpointError, HubError, UnsupportedError } from '../../errors.js'
import { Hub } from '../../hub/hub.js'
import { openRepository, type OpenRepository } from '../../hub/repositories/open-repository.js'
import type { Repository } from '../../hub/types.js'
import { checkComponentOptions, type OpenByName } from './component-sources.js'
import { checkDType } from './dtypes.js'
import type { PipelineSpec } from './load-networks.js'
import { Run, type CallHooks } from '../run.js'
import type { LoadPipelineOptions } from '../types.js'
import { checkPlacing, openDevices, type OpenDevices } from './open-devices.js'

/** Options of `fromPretrained` inside the worker. */
export interface OpenPipelineOptions extends LoadPipelineOptions, CallHooks {
  /** The worker's hub; one is opened for this pipeline when absent. */
  readonly hub?: Hub | undefined
  /** What relative URLs start from. */
  readonly baseUrl?: string | undefined
}

/** A pipeline whose parts have not been read. */
export interface FoundPipeline {
  readonly repository: Repository
  readonly index: ModelIndex
  readonly spec: PipelineSpec
  readonly placing: OpenDevices
  /** Its signal ends also what the others do when one part fails. */
  readonly run: Run
  /** Opens other repositories. */
  readonly open: OpenByName
  /** Where what is made of weights can be kept; absent for a repository that came without a hub. */
  readonly store: (() => Promise<Hub>) | undefined
  /** Lets the cache evict the repositories' files again, after what `onClose` was given. */
  readonly close: () => void
  readonly onClose: (release: () => void) => void
}

/**
 * Finds the pipeline of one of the families in `specs` and works with it. Where `work` fails, everything is closed; else that is for it
 * to do.
 * @throws UnsupportedError `unsupported-class`, `unsupported-config`; InputError; HubError; CheckpointError; DeviceError; AbortError
 */
export async function findPipeline<T>(
  repo: string | Repository,
  options: OpenPipelineOptions,
  specs: readonly PipelineSpec[],
  work: (found: FoundPipeline) => Promise<T>,
): Promise<T> {
  const failing = new AbortController()
  const signal = options.signal === undefined ? failing.signal : AbortSignal.any([options.signal, failing.signal])
  const run = new Run({ ...options, signal })
  checkDType(options.dtype)
  checkComponentOptions(options)
  const budget = checkPlacing(options)
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
    placing = await openDevices(options, networkNames(spec, index, options), budget)
    // A repository that came without a hub has no cache to keep the small form in.
    const store = options.hub !== undefined || typeof repo === 'string' ? hub : undefined
    const onClose = (release: () => void) => {
      if (signal.aborted) release()
      else releases.push(release)
    }
    return await work({ repository, index, spec, placing, run, open, store, close, onClose })
  } catch (error) {
    // Without one part the others are of no use: their downloads end too.
    failing.abort(error)
    // What the cache remembers of a repository that cannot be used must not outlive the repository's mending.
    if (blamesRepository(error)) await Promise.all(opened.map((repository) => repository.revalidateOnNextOpen()))
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
