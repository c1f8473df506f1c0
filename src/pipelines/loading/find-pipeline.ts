/**
 * The first part of loading and of planning a pipeline: opens the repository, finds the family of its pipeline class, and opens devices for
 * its networks. The caller then decides what to read.
 */

import type { Layout } from '../../checkpoint/layouts/layout.js'
import { layoutNames, openLayout } from '../../checkpoint/layouts/open-layout.js'
import { openFile } from '../../hub/repositories/open-file.js'
import { isSingleFile, openSingleFileLayout, type Opening, type SingleFileSource } from './open-single-file.js'
import { CheckpointError, HubError, UnsupportedError } from '../../errors.js'
import { Hub } from '../../hub/hub.js'
import { openRepository } from '../../hub/repositories/open-repository.js'
import type { OpenRepository, Repository } from '../../hub/types.js'
import { checkComponentOptions, type OpenByName } from './find-components.js'
import { layoutWithPreviews, namedComponents, specWithPreviews } from './preview-decoder.js'
import { checkDType } from './dtypes.js'
import type { PipelineSpec } from '../pipeline-spec.js'
import { Run, type CallHooks } from '../run.js'
import type { LoadPipelineOptions } from '../types.js'
import type { KernelPreparation } from './prepare-kernels.js'
import { checkPlacing, openDevices, type OpenDevices } from './open-devices.js'

/** Options of `fromPretrained` inside the worker. */
export interface OpenPipelineOptions extends LoadPipelineOptions, CallHooks {
  /** The worker's hub. By default one is opened for this pipeline alone. */
  readonly hub?: Hub | undefined
  /** The base of relative URLs. */
  readonly baseUrl?: string | undefined
  /** Called with the compilation that `prepareFor` starts. */
  readonly onPreparation?: ((preparation: KernelPreparation) => void) | undefined
}

/** Where a pipeline is loaded from: a Hub id or a base URL, an open repository, or a checkpoint in one file. */
export type PipelineSource = string | Repository | SingleFileSource

/** A pipeline whose family is known, and whose parts have not been read yet. */
export interface FoundPipeline<Spec extends PipelineSpec = PipelineSpec> {
  readonly layout: Layout
  readonly spec: Spec
  readonly placing: OpenDevices
  /** The run's signal is also aborted when a part fails. This ends the downloads of the other parts. */
  readonly run: Run
  /** Opens other repositories. */
  readonly open: OpenByName
  /** Opens the hub whose cache can hold prepared files; absent for a repository object that came without a hub. */
  readonly store: (() => Promise<Hub>) | undefined
  /** Allows the cache to evict the repositories' files again, then calls the functions that `onClose` registered. */
  readonly close: () => void
  /** The caller's hub, or one that is opened at the first call. */
  readonly hub: () => Promise<Hub>
  /** Registers a compilation on the devices, which is stopped before they are closed. */
  readonly onPreparation: (preparation: KernelPreparation | undefined) => void
  /** Registers a function that {@link close} calls. */
  readonly onClose: (release: () => void) => void
}

/**
 * Finds the family of a repository's pipeline in `specs`, opens devices, and passes both to `work`. If `work` fails, this closes the
 * repositories and devices; if it succeeds, `work` or its caller closes them.
 * @throws UnsupportedError `unsupported-class`, `unsupported-config`; InputError; HubError; CheckpointError; DeviceError; AbortError
 */
export async function findPipeline<T, Spec extends PipelineSpec>(
  repo: PipelineSource,
  options: OpenPipelineOptions,
  specs: readonly Spec[],
  work: (found: FoundPipeline<Spec>) => Promise<T>,
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
  let preparation: KernelPreparation | undefined
  try {
    const open = opener(hub, options, opened, run)
    const found = await layoutOf(repo, options, { hub, open, opened, run })
    const own = findSpec(found, specs, run)
    const components = namedComponents(options, own)
    const [layout, spec] = [layoutWithPreviews(found, components), specWithPreviews(own, components)]
    placing = await openDevices(options, budget, networkNames(spec, layout, components))
    // A repository object that came without a hub has no cache for prepared files.
    const store = options.hub !== undefined || typeof repo === 'string' || isSingleFile(repo) ? hub : undefined
    const onClose = (release: () => void) => {
      if (signal.aborted) release()
      else releases.push(release)
    }
    const onPreparation = (begun: KernelPreparation | undefined) => {
      preparation = begun
      if (begun !== undefined) options.onPreparation?.(begun)
    }
    return await work({ layout, spec, placing, run, open, store, hub, close, onClose, onPreparation })
  } catch (error) {
    // The pipeline cannot run without the part that failed, so this also ends the downloads of the other parts.
    failing.abort(error)
    // The cached listing of a broken repository must not be used after its author has repaired it.
    if (blamesRepository(error)) await Promise.all(opened.map((repository) => repository.revalidateOnNextOpen()))
    close()
    await preparation?.stop()
    for (const device of placing?.devices.values() ?? []) await device.dispose()
    throw error
  }
}

async function layoutOf(repo: PipelineSource, options: OpenPipelineOptions, opening: Opening): Promise<Layout> {
  const { open, run } = opening
  if (typeof repo === 'string') {
    if (isSingleFile(repo)) return openSingleFileLayout(repo, options, opening)
    return openLayout(await open(repo, options.revision), { signal: run.signal })
  }
  if ('singleFile' in repo) return openSingleFileLayout(repo, options, opening)
  return openLayout(repo, { signal: run.signal })
}

/** The family of a checkpoint's pipeline class, or of a class that has the same checkpoints. @throws UnsupportedError `unsupported-class` */
export function findSpec<Spec extends PipelineSpec>(
  { className, notes, options }: Layout,
  specs: readonly Spec[],
  run: Pick<Run, 'note'>,
): Spec {
  const own = specs.find((candidate) => candidate.className === className)
  const spec = own ?? specs.find((candidate) => candidate.savedAs?.includes(className) === true)
  if (spec !== undefined) {
    for (const note of notes) run.note('', note)
    if (own === undefined)
      run.note('', {
        code: 'class-replaced',
        message: `The checkpoint was saved as ${className} and is run as ${spec.className}, which has the same components.`,
        values: { [className]: spec.className },
      })
    return { ...spec, ...spec.settingsOf?.(options) }
  }
  const supported = specs.map((candidate) => candidate.className)
  throw new UnsupportedError(
    'unsupported-class',
    `The repository is for the pipeline ${className}, which is not supported; supported: ${supported.join(', ')}.`,
    { component: 'pipeline', className, supported },
  )
}

/**
 * The networks that the pipeline will have: those of its checkpoint and the caller's replacements, without the networks that the caller
 * leaves out.
 */
function networkNames(spec: PipelineSpec, layout: Layout, components: NonNullable<LoadPipelineOptions['components']>): string[] {
  return Object.keys(spec.networks).filter((name) => {
    const reference = Object.hasOwn(components, name) ? components[name] : undefined
    return reference === undefined ? (layout.components.get(name) ?? null) !== null : reference !== null
  })
}

function blamesRepository(error: unknown): boolean {
  return (
    error instanceof CheckpointError ||
    error instanceof UnsupportedError ||
    (error instanceof HubError && (error.code === 'file-not-found' || error.code === 'file-too-large'))
  )
}

/** The caller's hub, or one that is opened at the first call. */
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

/** Opens each repository once, by name and revision. */
function opener(hub: () => Promise<Hub>, options: OpenPipelineOptions, opened: OpenRepository[], run: Run): OpenByName {
  const byName = new Map<string, Promise<OpenRepository>>()
  const file = async (address: string) => {
    const { endpoint, token, baseUrl, revalidate } = options
    const found = await openFile(await hub(), address, { endpoint, token, baseUrl, revalidate, signal: run.signal })
    opened.push(found.repository)
    return found
  }
  const open = async (repo: string, revision: string | undefined) => {
    const shared = await hub()
    const key = JSON.stringify([repo, revision ?? null])
    let repository = byName.get(key)
    if (repository === undefined) {
      const { endpoint, token, baseUrl, revalidate } = options
      const { signal } = run
      repository = openRepository(shared, repo, {
        revision,
        endpoint,
        token,
        baseUrl,
        revalidate,
        layout: layoutNames,
        signal,
      }).then((found) => {
        opened.push(found)
        if (signal?.aborted === true) found.close()
        return found
      })
      byName.set(key, repository)
    }
    return repository
  }
  return Object.assign(open, { file })
}
