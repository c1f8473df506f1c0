/** Describes the content of a repository without model_index.json in a sentence that says what to do. Pure: it reads paths only. */

import { modelIndexName } from './diffusers-names.js'

/** @param repository its name, for the message */
export function explainMissingIndex(repository: string, paths: readonly string[]): string {
  const none = `${repository} has no ${modelIndexName}`
  if (paths.length === 0) return `${none}: it has no files at all.`
  const root = paths.filter((path) => !path.includes('/'))
  const inRoot = (pattern: RegExp) => root.find((path) => pattern.test(path))
  const folders = paths
    .filter((path) => path.endsWith(`/${modelIndexName}`))
    .map((path) => path.slice(0, -modelIndexName.length - 1))
  const [only] = folders
  if (only !== undefined && folders.length === 1)
    return `${none} in its root. A pipeline is in its folder ${JSON.stringify(only)}: choose that folder, or give its address.`
  if (folders.length > 0)
    return `${none} in its root. Pipelines are in its folders ${folders.slice(0, 5).join(', ')}: choose one of them, or give its address.`
  const adapter = inRoot(/^adapter_config\.json$|lora.*\.safetensors$/i)
  if (adapter !== undefined)
    return `${none}: it holds a LoRA adapter (${adapter}), which changes another model. Give the model that it was made for.`
  if (root.includes('config.json'))
    return `${none}: it holds one model and no pipeline. Give a pipeline's repository, and this one in the option components.`
  const gguf = inRoot(/\.gguf$/i)
  if (gguf !== undefined) return `${none}: it holds GGUF files (${gguf}). Give the address of one of them.`
  const single = inRoot(/\.(?:safetensors|ckpt|pth?|bin)$/i)
  if (single !== undefined)
    return `${none}: it holds a checkpoint in a single file (${single}). Give the address of that file, or load it with diffusers' from_single_file and save it with save_pretrained.`
  return `${none}: it is no repository in diffusers' layout.`
}
