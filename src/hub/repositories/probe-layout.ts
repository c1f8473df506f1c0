/**
 * Finds the files of a checkpoint on a host that cannot list them: it requests them one by one, by the names that diffusers and transformers
 * give them. It finds what a pipeline is loaded from and no other files. It sends no request itself: see {@link LayoutProbe}.
 */

import type { RepositoryFile } from '../types.js'

/** How to ask a host. */
export interface LayoutProbe {
  /** Bytes of a file, or undefined when the host does not have it. */
  sizeOf(path: string): Promise<number | undefined>
  /** Whether one request finds anything at the path. */
  has(path: string): Promise<boolean>
  /** The JSON in a file that exists; undefined when it is not valid JSON. */
  json(path: string): Promise<unknown>
}

/** Limits, so that a malicious index cannot make the page send requests for ever. */
const maxFolders = 40
const maxRequests = 2000

/** Requests that run at the same time. */
const atOnce = 6

/** The file that lists the components of a pipeline. */
export const modelIndex = 'model_index.json'
/** The variants of published checkpoints. */
const variants = ['fp16', 'bf16', 'non_ema']
const tokenizerFiles = [
  'tokenizer_config.json',
  'tokenizer.json',
  'special_tokens_map.json',
  'added_tokens.json',
  'vocab.json',
  'merges.txt',
  'spiece.model',
]

/** A name that no repository has. A host that finds it answers every path with something. */
const absentName = 'aquatint-asks-whether-this-is-there.safetensors'

/** The files found, sorted by path. None when the host has no checkpoint, or answers every path with something. */
export async function probeLayout(probe: LayoutProbe): Promise<RepositoryFile[]> {
  const found = new Map<string, number>()
  let requestsLeft = maxRequests
  const probeAll = async (paths: readonly string[]): Promise<void> => {
    const left = paths.filter((path) => !found.has(path)).slice(0, requestsLeft)
    requestsLeft -= left.length
    const work = async () => {
      for (let path = left.shift(); path !== undefined; path = left.shift()) {
        const size = await probe.sizeOf(path)
        if (size !== undefined) found.set(path, size)
      }
    }
    await Promise.all(Array.from({ length: atOnce }, work))
  }
  if (await probe.has(absentName)) return []
  await probeAll([modelIndex])
  const folders = found.has(modelIndex) ? componentFolders(await probe.json(modelIndex)) : new Map([['', undefined]])
  await probeAll([...folders].flatMap(([folder, component]) => namesFor(component).map((name) => joinPath(folder, name))))
  for (const path of [...found.keys()].filter((path) => /\.safetensors\.(?:[\w-]+\.)?index(?:\.[\w-]+)?\.json$/.test(path))) {
    const folder = path.slice(0, path.lastIndexOf('/') + 1)
    await probeAll(shardNames(await probe.json(path)).map((name) => folder + name))
  }
  return [...found].map(([path, size]) => ({ path, size })).sort((a, b) => (a.path < b.path ? -1 : 1))
}

/** The folder of each component, and the component's class, as model_index.json lists them. */
function componentFolders(index: unknown): Map<string, ComponentClass | undefined> {
  const folders = new Map<string, ComponentClass | undefined>()
  for (const [name, value] of entriesOf(index)) {
    const [library, className] = Array.isArray(value) ? (value as unknown[]) : []
    if (!/^[A-Za-z]\w{0,63}$/.test(name) || typeof library !== 'string' || typeof className !== 'string') continue
    if (folders.size < maxFolders) folders.set(name, { library, className })
  }
  return folders
}

/** The class of a component in model_index.json. */
interface ComponentClass {
  readonly library: string
  readonly className: string
}

/** The names that a component's files can have. Without a class, which is a repository with one component only, those of any component. */
function namesFor(component: ComponentClass | undefined): string[] {
  if (component === undefined)
    return ['scheduler_config.json', ...tokenizerFiles, 'config.json', ...weightNames('model'), ...weightNames(diffusersStem)]
  const { library, className } = component
  if (/Tokenizer(?:Fast)?$/.test(className)) return tokenizerFiles
  if (/Scheduler(?:Flax)?$/.test(className)) return ['scheduler_config.json']
  if (/(?:Processor|Extractor)(?:Fast)?$/.test(className)) return ['preprocessor_config.json']
  return ['config.json', ...weightNames(library === 'diffusers' ? diffusersStem : 'model')]
}

const diffusersStem = 'diffusion_pytorch_model'

function weightNames(stem: string): string[] {
  return [
    `${stem}.safetensors`,
    `${stem}.safetensors.index.json`,
    ...variants.flatMap((variant) => [
      `${stem}.${variant}.safetensors`,
      `${stem}.safetensors.index.${variant}.json`,
      // The name that diffusers used until 0.29.
      `${stem}.safetensors.${variant}.index.json`,
    ]),
  ]
}

/** The shards that an index names, each once. Names that are not plain file names are left out; the index's reader reports them. */
function shardNames(index: unknown): string[] {
  const map: unknown = typeof index === 'object' && index !== null ? (index as { weight_map?: unknown }).weight_map : undefined
  const names = new Set<string>()
  for (const [, name] of entriesOf(map)) {
    if (typeof name === 'string' && /^[\w-][\w.-]{0,199}\.safetensors$/.test(name)) names.add(name)
  }
  return [...names]
}

function entriesOf(value: unknown): [string, unknown][] {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? Object.entries(value) : []
}

function joinPath(folder: string, name: string): string {
  return folder === '' ? name : `${folder}/${name}`
}
