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
/** The file names of diffusers' layout, in the order in which they are requested from a host that has no listing. */
export const diffusersNames: LayoutNames = {
  index: modelIndexName,
  rounds: [
    () => Promise.resolve([modelIndexName]),
    async (found, json) => {
      const folders = await foldersOf(found, json)
      return folders.flatMap(([folder, component]) => firstNames(component).map((name) => joinPath(folder, name)))
    },
    async (found, json) => {
      const folders = await foldersOf(found, json)
      const names = folders.map(async ([folder, component]) => {
        const read = (name: string) => (found.includes(joinPath(folder, name)) ? json(joinPath(folder, name)) : undefined)
        const more = await furtherNames(component, (name) => found.includes(joinPath(folder, name)), read)
        return more.map((name) => joinPath(folder, name))
      })
      return (await Promise.all(names)).flat()
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

/** The folders that can have components. Without model_index.json, the repository is one component of any class. */
async function foldersOf(
  found: readonly string[],
  json: (path: string) => Promise<unknown>,
): Promise<readonly (readonly [string, ComponentClass | undefined])[]> {
  return found.includes(modelIndexName) ? [...componentFolders(await json(modelIndexName))] : [['', undefined]]
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

/** The stems of the names of weight files. */
const [diffusersStem, transformersStem] = ['diffusion_pytorch_model', 'model']

/** The kinds of files that a component may have. In a repository with one component only, no class is known, so they may be of any kind. */
function kindsOf(component: ComponentClass | undefined): {
  readonly tokenizer?: string
  readonly stems: readonly string[]
  readonly others: readonly string[]
} {
  if (component === undefined)
    return { tokenizer: '', stems: [transformersStem, diffusersStem], others: ['scheduler_config.json'] }
  const { library, className } = component
  if (/Tokenizer(?:Fast)?$/.test(className)) return { tokenizer: className, stems: [], others: [] }
  if (/Scheduler(?:Flax)?$/.test(className)) return { stems: [], others: ['scheduler_config.json'] }
  if (/(?:Processor|Extractor)(?:Fast)?$/.test(className)) return { stems: [], others: ['preprocessor_config.json'] }
  return { stems: [library === 'diffusers' ? diffusersStem : transformersStem], others: [] }
}

/** The names to request first: those that most repositories have, and those of variants, which no other file lists. */
function firstNames(component: ComponentClass | undefined): string[] {
  const { tokenizer, stems, others } = kindsOf(component)
  return [
    ...others,
    ...(tokenizer === undefined ? [] : ['tokenizer_config.json', 'tokenizer.json']),
    ...(stems.length === 0 ? [] : ['config.json']),
    ...stems.map((stem) => `${stem}.safetensors`),
    ...stems.flatMap((stem) => variants.map((variant) => `${stem}.${variant}.safetensors`)),
  ]
}

/** The names to request once it is known which of the first exist: as few as possible, since a browser reports each missing file in its console. */
async function furtherNames(
  component: ComponentClass | undefined,
  has: (name: string) => boolean,
  json: (name: string) => unknown,
): Promise<string[]> {
  const { tokenizer, stems } = kindsOf(component)
  const names: string[] = []
  // A repository with one component only is not a tokenizer if it has another config.
  if (tokenizer !== undefined && !has('config.json') && !has('scheduler_config.json')) {
    const config = await json('tokenizer_config.json')
    // A config with `added_tokens_decoder` already has the values of these files.
    if (!entriesOf(config).some(([key]) => key === 'added_tokens_decoder'))
      names.push('special_tokens_map.json', 'added_tokens.json')
    if (tokenizer.startsWith('Qwen') && !entriesOf(config).some(([key]) => key === 'chat_template'))
      names.push('chat_template.jinja')
    if (!has('tokenizer.json')) {
      if (!tokenizer.startsWith('T5')) names.push('vocab.json', 'merges.txt')
      if (!tokenizer.startsWith('CLIP')) names.push('spiece.model')
    }
  }
  // If the weights are in one file, there are no shards to ask for.
  for (const stem of stems) {
    if (has(`${stem}.safetensors`) || (component === undefined && !has('config.json'))) continue
    names.push(`${stem}.safetensors.index.json`)
    for (const variant of variants) {
      // diffusers wrote the second name until 0.29.
      if (!has(`${stem}.${variant}.safetensors`))
        names.push(`${stem}.safetensors.index.${variant}.json`, `${stem}.safetensors.${variant}.index.json`)
    }
  }
  return names
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
