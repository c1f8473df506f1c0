/**
 * The four stages of the bar, and how far a load or a generation has come. Pure. The bar never goes back. Weights that are loaded during
 * a stage are a part of that stage's bar. A file that is found later, a damaged chunk that is downloaded again, and the recovery of a
 * lost GPU, which repeats earlier stages, do not shorten the bar.
 */

import type { PipelinePhase } from '../../../index.js'

/** The stages in their order. `weights`: the share of the stage's bar that its first load of weights fills. */
export const stages = [
  { name: 'Download', weights: 0 },
  { name: 'Encode', weights: 0.5 },
  { name: 'Denoise', weights: 0.1 },
  { name: 'Decode', weights: 0.5 },
] as const

/** How far a run has come. */
export interface Reached {
  /** The index in {@link stages}; -1 before the first, and the number of stages after the last. */
  readonly stage: number
  /** The fraction of the stage that is done, 0 to 1; undefined while it is not known. */
  readonly fraction: number | undefined
  /** How many loads of weights the stage has finished. */
  readonly loads: number
}

/** The start of a run; with a loaded model, the download is done. */
export function startReached(hasModel: boolean): Reached {
  return hasModel ? { stage: 0, fraction: 1, loads: 0 } : { stage: -1, fraction: undefined, loads: 0 }
}

/** Whether a generation has finished. */
export function isComplete({ stage }: Reached): boolean {
  return stage === stages.length
}

/** The part of a stage's bar that is filled, from 0 to 1. */
export function filled({ stage, fraction = 0 }: Reached, index: number): number {
  return index < stage ? 1 : index === stage ? fraction : 0
}

const stageOfPhase: Readonly<Record<PipelinePhase, number>> = {
  resolving: 0,
  downloading: 0,
  ready: 0,
  encoding: 1,
  denoising: 2,
  decoding: 3,
  complete: stages.length,
}

/** The progress after a phase began. A phase of an earlier stage changes nothing. */
export function reachPhase(reached: Reached, phase: PipelinePhase): Reached {
  const stage = stageOfPhase[phase]
  const fraction = phase === 'ready' || phase === 'complete' ? 1 : undefined
  if (stage > reached.stage) return { stage, fraction, loads: 0 }
  return stage === reached.stage ? further(reached, fraction) : reached
}

/** The progress after the fraction `part` (0 to 1) of the files has arrived. */
export function reachDownload(reached: Reached, part: number): Reached {
  return reached.stage === 0 ? further(reached, part) : reached
}

/** The progress after the fraction `part` (0 to 1) of a component's weights was loaded to its device. */
export function reachWeights(reached: Reached, part: number): Reached {
  const next = further(reached, 1 - left(reached) * (1 - part * (stages[reached.stage]?.weights ?? 0)))
  return part === 1 ? { ...next, loads: next.loads + 1 } : next
}

/** The progress after the fraction `part` (0 to 1) of the denoising steps was done. */
export function reachSteps(reached: Reached, part: number): Reached {
  const denoising = reachPhase(reached, 'denoising')
  return denoising.stage === stageOfPhase.denoising ? further(denoising, 1 - left(denoising) * (1 - part)) : denoising
}

/** The fraction of the current stage's bar that its finished loads of weights leave empty. Each fills the share `weights` of the rest. */
function left({ stage, loads }: Reached): number {
  return (1 - (stages[stage]?.weights ?? 0)) ** loads
}

function further(reached: Reached, fraction: number | undefined): Reached {
  if (fraction === undefined || fraction <= (reached.fraction ?? 0)) return reached
  return { ...reached, fraction }
}
