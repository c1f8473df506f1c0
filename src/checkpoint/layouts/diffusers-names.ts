/**
 * The names that the files of a repository in diffusers' layout can have, for hosts that cannot list their files. Only files that a pipeline
 * is loaded from are named. Names come out of untrusted files, so only plain folder and file names are used.
 */

import type { LayoutNames } from '../../hub/types.js'

/** The file that lists the components of a pipeline. */
export const modelIndexName = 'model_index.json'

/** The most component folders that are looked for. */
const maxFolders = 40

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

/** diffusers' layout, as hosts without a listing are searched for it. */
export const diffusersNames: LayoutNames = {
  index: modelIndexName,
  rounds: [
    () => Promise.resolve([modelIndexName]),
    async (found, json) => {
      const folders = found.includes(modelIndexName) ? componentFolders(await json(modelIndexName)) : new Map([['', undefined]])
      return [...folders].flatMap(([folder, component]) => namesFor(component).map((name) => joinPath(folder, name)))
    },
    async (found, json) => {
      const indexes = found.filter((path) => /\.safetensors\.(?:[\w-]+\.)?index(?:\.[\w-]+)?\.json$/.test(path))
      const shards = await Promise.all(
        indexes.map(async (path) => {
          const folder = path.slice(0, path.lastIndexOf('/') + 1)
          return shardNames(await json(path)).map((name) => folder + name)
        }),
      )
      return shards.flat()
    },
  ],
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
