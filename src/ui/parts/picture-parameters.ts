/**
 * The text `parameters` that AUTOMATIC1111's web UI, and programs that follow it, write into their pictures: the prompt, a line with the negative
 * prompt, and a line of facts. Pure; the text is untrusted.
 */

import { lorasFromPrompt, withoutLoras } from './lora-settings.js'

/** The web UI's samplers that are a scheduler of the form. A schedule behind the name, such as "Karras", is left out. */
const samplers: Readonly<Record<string, string>> = {
  Euler: 'EulerDiscreteScheduler',
  'Euler a': 'EulerAncestralDiscreteScheduler',
  'Euler ancestral': 'EulerAncestralDiscreteScheduler',
  'DPM++ 2M': 'DPMSolverMultistepScheduler',
  'DPM-Solver++': 'DPMSolverMultistepScheduler',
  UniPC: 'UniPCMultistepScheduler',
  Heun: 'HeunDiscreteScheduler',
  DDIM: 'DDIMScheduler',
  PLMS: 'PNDMScheduler',
  PNDM: 'PNDMScheduler',
  LCM: 'LCMScheduler',
}

const negativeMark = 'Negative prompt:'

/** The settings in such a text, by their names in the prompt box, unchecked; undefined if it has no line of facts. */
export function readParameters(text: string): Readonly<Record<string, unknown>> | undefined {
  const lines = text.split('\n')
  const last = lines.findLastIndex((line) => /^Steps: \d/.test(line))
  if (last === -1) return undefined
  const facts = readFacts(lines[last] ?? '')
  const before = lines.slice(0, last).join('\n')
  const at = before.startsWith(negativeMark) ? 0 : before.indexOf(`\n${negativeMark}`)
  const [prompt, negative] = at === -1 ? [before, ''] : [before.slice(0, at), before.slice(at).trim().slice(negativeMark.length)]
  const [, width, height] = /^(\d+)x(\d+)$/.exec(facts.get('Size') ?? '') ?? []
  const sampler = (facts.get('Sampler') ?? '').replace(/ (?:Karras|Exponential)$/, '')
  const found = {
    promptWeighting: 'a1111',
    prompt: withoutLoras(prompt),
    loras: lorasFromPrompt(prompt),
    negativePrompt: negative.trim(),
    numInferenceSteps: facts.get('Steps'),
    guidanceScale: facts.get('CFG scale'),
    seed: facts.get('Seed'),
    width,
    height,
    strength: facts.get('Denoising strength'),
    clipSkip: clipSkip(facts.get('Clip skip')),
    scheduler: Object.hasOwn(samplers, sampler) ? samplers[sampler] : undefined,
  }
  return Object.fromEntries(Object.entries(found).filter(([, value]) => value !== undefined))
}

/** The web UI counts the layer that it uses from the end, diffusers the layers that it leaves out: the web UI's 1 is diffusers' default. */
function clipSkip(fact: string | undefined): string | undefined {
  const layer = Number(fact)
  return layer > 1 ? `${layer - 1}` : undefined
}

/** `Key: value` pairs with commas between them. A value with commas is in quotation marks. */
function readFacts(line: string): ReadonlyMap<string, string> {
  const pairs = line.matchAll(/(?:^|,)\s*([A-Za-z][\w ]*):\s*("(?:[^"\\]|\\.)*"|[^,]*)/g)
  return new Map([...pairs].map(([, key = '', value = '']) => [key, value.trim()]))
}
