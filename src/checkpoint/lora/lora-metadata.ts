/** What the metadata of a LoRA file says: diffusers' copy of peft's config, and the trigger words of kohya's scripts and of modelspec. */

import { isJsonObject, parseJson, type JsonObject } from '../../util/parse-json.js'
import type { LoraComponent } from './lora-keys.js'

type Metadata = ReadonlyMap<string, string>

/** The most trigger words that are reported. */
const mostWords = 20

/** The factor with which peft trained a branch without an alpha in the file: alpha / rank, or alpha / √rank; 1 if the config has no alpha. */
export function trainedScaling(metadata: Metadata, component: LoraComponent, layer: string, rank: number): number {
  const config = parseObject(metadata.get('lora_adapter_metadata'))
  const names = component === 'denoiser' ? ['unet', 'transformer'] : [component]
  const read = (key: string) => names.map((name) => config[`${name}.${key}`]).find((value) => value !== undefined)
  const usual = read('lora_alpha')
  const patterns = read('alpha_pattern')
  const own = isJsonObject(patterns) ? Object.entries(patterns).find(([key]) => isPatternOf(key, layer))?.[1] : undefined
  const alpha = own ?? usual
  if (typeof alpha !== 'number') return 1
  return alpha / (read('use_rslora') === true ? Math.sqrt(rank) : rank)
}

/** Whether a key of `alpha_pattern` means a layer: its whole name, or the end of it. Keys that begin with `^` are whole names. */
function isPatternOf(key: string, layer: string): boolean {
  return key.startsWith('^') ? layer === key.slice(1) : layer === key || layer.endsWith(`.${key}`)
}

/**
 * Words for the prompt: modelspec's trigger phrase, otherwise the most frequent tags of the training images (those that every image has, if there are
 * any).
 */
export function triggerWords(metadata: Metadata): readonly string[] {
  const phrase = metadata.get('modelspec.trigger_phrase') ?? ''
  if (phrase.trim() !== '')
    return phrase
      .split(',')
      .map((word) => word.trim())
      .filter((word) => word !== '')
      .slice(0, mostWords)
  const folders = Object.values(parseObject(metadata.get('ss_tag_frequency'))).filter((folder) => isJsonObject(folder))
  const counts = new Map<string, number>()
  for (const folder of folders)
    for (const [tag, count] of Object.entries(folder))
      if (typeof count === 'number') counts.set(tag.trim(), (counts.get(tag.trim()) ?? 0) + count)
  const most = Math.max(0, ...counts.values())
  return [...counts]
    .filter(([tag, count]) => tag !== '' && count === most)
    .map(([tag]) => tag)
    .slice(0, mostWords)
}

/** Metadata is text that any program may have written. Text that is not a JSON object is ignored. */
function parseObject(text: string | undefined): JsonObject {
  if (text === undefined) return {}
  try {
    const json = parseJson(new TextEncoder().encode(text), { file: 'metadata', maxBytes: 4_000_000, duplicateKeys: 'refuse' })
    return isJsonObject(json) ? json : {}
  } catch {
    return {}
  }
}
