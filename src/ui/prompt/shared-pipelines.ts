/** Loaded pipelines, shared by every prompt box of a page: boxes with the same model and options use one pipeline. */

import {
  DiffusionPipeline,
  type LoadPipelineOptions,
  type PlannedSize,
  type ProgressReport,
  type RepositoryReference,
} from '../../index.js'
import { SharedTask, type Share } from '../../util/shared-task.js'

type PipelineLoad = SharedTask<DiffusionPipeline, ProgressReport>

const loads = new Map<string, PipelineLoad>()

/** Identifies a load: two loads with the same key give the same pipeline, whatever picture it is prepared for. */
export function pipelineKey(repo: RepositoryReference, options: LoadPipelineOptions): string {
  const sorted = Object.entries(options)
    .filter(([name, value]) => value !== undefined && name !== 'prepareFor')
    .sort(([a], [b]) => (a < b ? -1 : 1))
  return JSON.stringify([typeof repo === 'string' ? repo : folderId(repo), sorted])
}

/** The picture that a load is prepared for, from the settings of a form. */
export function preparedPicture(settings: PlannedSize): PlannedSize {
  const { width, height, numImagesPerPrompt, guidanceScale, trueCfgScale } = settings
  return { width, height, numImagesPerPrompt, guidanceScale, trueCfgScale }
}

/** One object of load options: later values override earlier ones, and their `components` are merged. */
export function mergeLoadOptions(...all: readonly LoadPipelineOptions[]): LoadPipelineOptions {
  const options: LoadPipelineOptions = Object.assign({}, ...all)
  const components: LoadPipelineOptions['components'] = Object.assign({}, ...all.map((each) => each.components))
  return { ...options, components: Object.keys(components ?? {}).length === 0 ? undefined : components }
}

const folderIds = new WeakMap<object, number>()
let folders = 0

/** Picking a folder twice gives two ids, because its files may have changed in between. */
function folderId(folder: object): number {
  const known = folderIds.get(folder)
  if (known !== undefined) return known
  folderIds.set(folder, ++folders)
  return folders
}

/**
 * Loads a pipeline, or shares the one that another box is loading or has loaded. A load stops when the signals of all boxes that wait for
 * it have fired. A pipeline is disposed when its last share is released.
 */
export async function sharePipeline(
  repo: RepositoryReference,
  options: LoadPipelineOptions,
  signal: AbortSignal,
  onProgress: (progress: ProgressReport) => void,
): Promise<Share<DiffusionPipeline>> {
  signal.throwIfAborted()
  const key = pipelineKey(repo, options)
  const running = loads.get(key)
  const load = running === undefined || running.stopped ? startLoad(key, repo, options) : running
  try {
    const { value, leave } = await load.join({ signal, onProgress })
    return { value, leave: () => leaveLoad(key, load, leave) }
  } catch (error) {
    forgetStopped(key, load)
    throw error
  }
}

function startLoad(key: string, repo: RepositoryReference, options: LoadPipelineOptions): PipelineLoad {
  const load: PipelineLoad = new SharedTask(
    (signal, onProgress) => DiffusionPipeline.fromPretrained(repo, { ...options, signal, onProgress }),
    (pipeline) => pipeline.dispose(),
  )
  loads.set(key, load)
  return load
}

async function leaveLoad(key: string, load: PipelineLoad, leave: () => Promise<void>): Promise<void> {
  const left = leave()
  forgetStopped(key, load)
  await left
}

function forgetStopped(key: string, load: PipelineLoad): void {
  if (load.stopped && loads.get(key) === load) loads.delete(key)
}
