/**
 * Loaded pipelines, shared by every prompt box of a page: two boxes with the same model and options use one pipeline, and the last
 * one that lets go disposes it.
 */

import { DiffusionPipeline, type LoadPipelineOptions, type PipelineProgress, type RepositoryReference } from '../../index.js'
import { orAbort } from '../../util/abort.js'

interface Entry {
  readonly loading: Promise<DiffusionPipeline>
  readonly controller: AbortController
  readonly listeners: Set<(progress: PipelineProgress) => void>
  users: number
}

/** A box's hold on a pipeline. */
export interface PipelineHold {
  readonly pipeline: DiffusionPipeline
  release(): Promise<void>
}

const entries = new Map<string, Entry>()

/** What makes two loads the same one. */
export function pipelineKey(repo: RepositoryReference, options: LoadPipelineOptions): string {
  const sorted = Object.entries(options)
    .filter(([, value]) => value !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1))
  return JSON.stringify([typeof repo === 'string' ? repo : folderId(repo), sorted])
}

const folderIds = new WeakMap<object, number>()
let folders = 0

/** Two picks of one folder count as two: its files may have changed between them. */
function folderId(folder: object): number {
  const known = folderIds.get(folder)
  if (known !== undefined) return known
  folderIds.set(folder, ++folders)
  return folders
}

/** Loads a pipeline, or joins whoever loads or holds the same. Leaving through `signal` stops the load when nobody else waits. */
export async function holdPipeline(
  repo: RepositoryReference,
  options: LoadPipelineOptions,
  signal: AbortSignal,
  onProgress: (progress: PipelineProgress) => void,
): Promise<PipelineHold> {
  signal.throwIfAborted()
  const key = pipelineKey(repo, options)
  const entry = entries.get(key) ?? begin(key, repo, options)
  entry.users++
  entry.listeners.add(onProgress)
  const leave = async () => {
    if (--entry.users > 0) return
    if (entries.get(key) === entry) entries.delete(key)
    entry.controller.abort()
    const pipeline = await entry.loading.catch(() => undefined)
    await pipeline?.dispose()
  }
  try {
    const pipeline = await orAbort(entry.loading, signal)
    let held = true
    return {
      pipeline,
      release: async () => {
        if (!held) return
        held = false
        await leave()
      },
    }
  } catch (error) {
    void leave()
    throw error
  } finally {
    entry.listeners.delete(onProgress)
  }
}

function begin(key: string, repo: RepositoryReference, options: LoadPipelineOptions): Entry {
  const controller = new AbortController()
  const listeners: Entry['listeners'] = new Set()
  const loading = DiffusionPipeline.fromPretrained(repo, {
    ...options,
    signal: controller.signal,
    onProgress: (progress) => {
      for (const listener of listeners) listener(progress)
    },
  })
  const entry: Entry = { loading, controller, listeners, users: 0 }
  entries.set(key, entry)
  // A failed load leaves, so that the next try is a new one.
  loading.catch(() => {
    if (entries.get(key) === entry) entries.delete(key)
  })
  return entry
}
