/**
 * The files of a checkpoint on a host that cannot list them: asked for one by one, by the names that diffusers and transformers give
 * them. Finds what a pipeline is loaded from, and nothing else that lies there. Knows no HTTP: it is handed the asking.
 */

import type { RepositoryFile } from '../types.js'

/** How a host is asked. */
export interface LayoutProbe {
  /** Bytes of a file, or undefined where the host has no such file. */
  sizeOf(path: string): Promise<number | undefined>
  /** Whether one request finds anything. */
  has(path: string): Promise<boolean>
  /** The JSON in a file that is there; undefined where it is none. */
  json(path: string): Promise<unknown>
}

/** Limits: a hostile index must not make this page ask for ever. */
const maxFolders = 40
const maxQuestions = 2000

/** Questions under way at a time. */
const atOnce = 6

/** The file that tells what a pipeline's repository holds. */
export const modelIndex = 'model_index.json'
/** Variants that published checkpoints have. */
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

/** A name that nobody has: a host that has it answers everything with something. */
const absurd = 'aquatint-asks-whether-this-is-there.safetensors'

/** The files found, sorted by path; none where the host does not hold a checkpoint, or what it says cannot be believed. */
export async function probeLayout(probe: LayoutProbe): Promise<RepositoryFile[]> {
  const found = new Map<string, number>()
  let questions = maxQuestions
  const ask = async (paths: readonly string[]): Promise<void> => {
    const left = paths.filter((path) => !found.has(path)).slice(0, questions)
    questions -= left.length
    const turn = async () => {
      for (let path = left.shift(); path !== undefined; path = left.shift()) {
        const size = await probe.sizeOf(path)
        if (size !== undefined) found.set(path, size)
      }
    }
    await Promise.all(Array.from({ length: atOnce }, turn))
  }
  if (await probe.has(absurd)) return []
  await ask([modelIndex])
  const folders = found.has(modelIndex) ? componentFolders(await probe.json(modelIndex)) : new Map([['', undefined]])
  await ask([...folders].flatMap(([folder, component]) => namesFor(component).map((name) => joinPath(folder, name))))
  for (const path of [...found.keys()].filter((path) => /\.safetensors\.(?:[\w-]+\.)?index(?:\.[\w-]+)?\.json$/.test(path))) {
    const folder = path.slice(0, path.lastIndexOf('/') + 1)
    await ask(shardNames(await probe.json(path)).map((name) => folder + name))
  }
  return [...found].map(([path, size]) => ({ path, size })).sort((a, b) => (a.path < b.path ? -1 : 1))
}

/** Folder → what its component is, as model_index.json tells. */
function componentFolders(index: unknown): Map<string, ComponentClass | undefined> {
  const folders = new Map<string, ComponentClass | undefined>()
  for (const [name, value] of entriesOf(index)) {
    const [library, className] = Array.isArray(value) ? (value as unknown[]) : []
    if (!/^[A-Za-z]\w{0,63}$/.test(name) || typeof library !== 'string' || typeof className !== 'string') continue
    if (folders.size < maxFolders) folders.set(name, { library, className })
  }
  return folders
}

interface ComponentClass {
  readonly library: string
  readonly className: string
}

/** The names that a component's files can have; of a repository with one component only, those of any. */
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
      // As diffusers wrote it until 0.29.
      `${stem}.safetensors.${variant}.index.json`,
    ]),
  ]
}

/** The shards that an index names, each once. What is no plain name is left out: whoever reads the index says what is wrong with it. */
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
