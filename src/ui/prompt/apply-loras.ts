/**
 * Gives a pipeline the LoRAs and learned words (textual inversion) of a prompt box: loads those that are missing, removes those that the
 * box does not use, and sets the LoRAs' weights.
 */

import type { DiffusionPipeline, LoadLoraCallOptions } from '../../index.js'
import { Mutex } from '../../util/mutex.js'
import type { ListedLora } from './form/lora-shelf.js'
import type { ListedWord } from './form/word-shelf.js'

/** The LoRAs and learned words that a prompt box uses. */
export interface WantedAdapters {
  readonly loras: readonly ListedLora[]
  readonly words: readonly ListedWord[]
}

const fileIds = new WeakMap<File, number>()
let files = 0

/** Identifies a file. A file that is picked again gets a new id, because its contents can have changed. */
function idOf(file: File): number {
  const id = fileIds.get(file) ?? ++files
  fileIds.set(file, id)
  return id
}

function adapterName({ source, file }: ListedLora): string {
  return file === undefined ? source : `${source} (file ${idOf(file)})`
}

/** Boxes that share a pipeline take turns: the LoRAs of a box must stay until its picture has been generated. */
const turns = new WeakMap<DiffusionPipeline, Mutex>()

/**
 * Runs a task while the pipeline has exactly these LoRAs and words; words that the page itself loaded stay until a box has words of its
 * own.
 * @throws as `DiffusionPipeline.loadLoraWeights`, `loadTextualInversion`, and what the task throws
 */
export function withAdapters<T>(
  pipeline: DiffusionPipeline,
  { loras, words }: WantedAdapters,
  hooks: Pick<LoadLoraCallOptions, 'signal' | 'onProgress'>,
  task: () => Promise<T>,
): Promise<T> {
  const turn = turns.get(pipeline) ?? new Mutex()
  turns.set(pipeline, turn)
  return turn.run(async () => {
    await applyWords(pipeline, words, hooks)
    await applyLoras(pipeline, loras, hooks)
    return task()
  }, hooks.signal)
}

/**
 * For each pipeline, the words that this module has loaded into it. Words that the page itself loads stay until a box has words of its
 * own.
 */
const loadedWords = new WeakMap<DiffusionPipeline, string>()

async function applyWords(
  pipeline: DiffusionPipeline,
  wanted: readonly ListedWord[],
  hooks: Pick<LoadLoraCallOptions, 'signal' | 'onProgress'>,
): Promise<void> {
  const key = wanted.map(({ word, file }) => `${idOf(file)} ${word}`).join('\n')
  if (key === (loadedWords.get(pipeline) ?? '')) return
  loadedWords.set(pipeline, 'being changed')
  await pipeline.unloadTextualInversion()
  for (const { word, file } of wanted) await pipeline.loadTextualInversion(file, { ...hooks, token: word })
  loadedWords.set(pipeline, key)
}

async function applyLoras(
  pipeline: DiffusionPipeline,
  wanted: readonly ListedLora[],
  hooks: Pick<LoadLoraCallOptions, 'signal' | 'onProgress'>,
): Promise<void> {
  const names = wanted.map(adapterName)
  const loaded = () => pipeline.loras.map(({ adapterName: name }) => name)
  const extra = loaded().filter((name) => !names.includes(name))
  if (extra.length > 0) await pipeline.deleteAdapters(extra)
  for (const [index, lora] of wanted.entries()) {
    const name = names[index] ?? ''
    if (!loaded().includes(name)) await pipeline.loadLoraWeights(lora.file ?? lora.source, { ...hooks, adapterName: name })
  }
  const weights = wanted.map(({ weight }) => weight)
  const isSet = names.every((name, index) =>
    pipeline.loras.some((lora) => lora.adapterName === name && lora.active && lora.weight === weights[index]),
  )
  if (!isSet || extra.length > 0) await pipeline.setAdapters(names, weights)
}
