/** Describes a plan in a sentence or two, for people who have not loaded the model yet. Pure. */

import type { PipelinePlan, Residence } from '../../../index.js'
import { formatBytes } from '../../../util/format-bytes.js'

const families: Readonly<Record<string, string>> = {
  StableDiffusionPipeline: 'Stable Diffusion',
  StableDiffusionXLPipeline: 'Stable Diffusion XL',
  StableDiffusion3Pipeline: 'Stable Diffusion 3',
}

const residences: Readonly<Record<Residence, string>> = {
  resident: 'all loaded at once',
  model: 'loaded one component at a time',
  block: 'loaded block by block',
}

/** The size of the download, and the memory that a picture needs. */
export function planWords({ className, downloadBytes, devices, width, height }: PipelinePlan): string {
  const gpus = Object.entries(devices).filter(([name]) => name !== 'wasm')
  const family = families[className] ?? className
  const download =
    downloadBytes === 0 ? `${family}, already downloaded.` : `${family}. Downloads ${formatBytes(downloadBytes)} once.`
  const picture = `A ${width} × ${height} picture`
  if (gpus.length === 0) return `${download} ${picture} is computed on the CPU.`
  const takes = gpus.map(([, plan]) => `up to ${formatBytes(plan.peakBytes)} of GPU memory, ${residences[plan.residence]}`)
  return `${download} ${picture} needs ${takes.join('; ')}.`
}
