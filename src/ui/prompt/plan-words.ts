/** A plan in a sentence or two, for people who have not loaded the model yet. Pure. */

import type { PipelinePlan, Residence } from '../../index.js'
import { formatBytes } from '../../util/format-bytes.js'

const families: Readonly<Record<string, string>> = {
  StableDiffusionPipeline: 'Stable Diffusion',
  StableDiffusionXLPipeline: 'Stable Diffusion XL',
  StableDiffusion3Pipeline: 'Stable Diffusion 3',
}

const residences: Readonly<Record<Residence, string>> = {
  resident: 'all of it at once',
  model: 'one part of it at a time',
  block: 'block by block',
}

/** What the download is, and what a picture takes. */
export function planWords({ className, downloadBytes, devices, width, height }: PipelinePlan): string {
  const gpus = Object.entries(devices).filter(([name]) => name !== 'wasm')
  const family = families[className] ?? className
  const download =
    downloadBytes === 0
      ? `${family}, already on this machine.`
      : `${family}. Downloads ${formatBytes(downloadBytes)} once and keeps it.`
  const picture = `A picture of ${width} × ${height}`
  if (gpus.length === 0) return `${download} ${picture} is made on the processor.`
  const takes = gpus.map(([, plan]) => `at most ${formatBytes(plan.peakBytes)} of graphics memory, ${residences[plan.residence]}`)
  return `${download} ${picture} takes ${takes.join('; ')}.`
}
