/** Makes the LoRAs of a pipeline those of a prompt box: loads what is missing, removes what is not wanted, and sets the weights. */

import type { DiffusionPipeline, LoadLoraCallOptions } from '../../index.js'
import { Mutex } from '../../util/mutex.js'
import type { ShelvedLora } from './form/lora-shelf.js'

const fileIds = new WeakMap<File, number>()
let files = 0

/** The adapter's name: a file that is picked again can have changed. */
function adapterName({ source, file }: ShelvedLora): string {
  if (file === undefined) return source
  const id = fileIds.get(file) ?? ++files
  fileIds.set(file, id)
  return `${source} (file ${id})`
}

/** Boxes that share a pipeline take turns: the LoRAs of one must stay until its picture has been generated. */
const turns = new WeakMap<DiffusionPipeline, Mutex>()

/** Runs a task while the pipeline has exactly these LoRAs. @throws as `DiffusionPipeline.loadLoraWeights`, and what the task throws */
export function withLoras<T>(
  pipeline: DiffusionPipeline,
  wanted: readonly ShelvedLora[],
  hooks: Pick<LoadLoraCallOptions, 'signal' | 'onProgress'>,
  task: () => Promise<T>,
): Promise<T> {
  const turn = turns.get(pipeline) ?? new Mutex()
  turns.set(pipeline, turn)
  return turn.run(async () => {
    await applyLoras(pipeline, wanted, hooks)
    return task()
  }, hooks.signal)
}

async function applyLoras(
  pipeline: DiffusionPipeline,
  wanted: readonly ShelvedLora[],
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
