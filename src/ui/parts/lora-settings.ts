/** LoRAs as settings of a prompt box, and their form in a link. Pure. Text from untrusted files and links is validated. */

import { parseLoraReference } from '../../util/lora-reference.js'

/** A LoRA of a prompt box. */
export interface LoraSetting {
  /** An address that `loadLoraWeights` takes, or the name of a picked file, which other computers cannot open. */
  readonly source: string
  /** How strongly the LoRA changes the picture. */
  readonly weight: number
}

/** The weights that the slider offers. Settings may have others. */
export const loraWeights = { min: -2, max: 2, step: 0.05 } as const

/** The most LoRAs, and the longest address, that are accepted from a link or a file. */
const [mostLoras, longestSource] = [20, 2000]

/** The name to show for a source: the last part of its path. */
export function loraName(source: string): string {
  const path = source.replace(/[?#].*$/s, '').replace(/\/+$/, '')
  return path.slice(path.lastIndexOf('/') + 1)
}

/** The LoRAs in an untrusted value; undefined where there are none. */
export function lorasFromUnknown(value: unknown): readonly LoraSetting[] | undefined {
  if (!Array.isArray(value)) return undefined
  const found: LoraSetting[] = []
  for (const one of value.slice(0, mostLoras) as unknown[]) {
    const { source, weight } = (typeof one === 'object' && one !== null ? one : {}) as Partial<Record<string, unknown>>
    if (typeof source !== 'string' || source === '' || source.length > longestSource) continue
    if (typeof weight === 'number' && Number.isFinite(weight)) found.push({ source, weight })
  }
  return found.length === 0 ? undefined : found
}

/** The values of `lora` in a link: `0.8:https://…`. Picked files are left out. */
export function lorasToQuery(loras: readonly LoraSetting[] = []): readonly string[] {
  return loras.filter(({ source }) => source.includes('/')).map(({ source, weight }) => `${weight}:${source}`)
}

/** Reads the values of `lora` in a link; leaves out invalid ones. */
export function lorasFromQuery(values: readonly string[]): readonly LoraSetting[] | undefined {
  return lorasFromUnknown(
    values.flatMap((value) => {
      const [, weight, source] = /^(-?\d+(?:\.\d+)?):(.+)$/s.exec(value) ?? []
      return weight === undefined || source === undefined || !source.includes('/') ? [] : [{ source, weight: Number(weight) }]
    }),
  )
}

/** Reads the tag's attribute `lora`: addresses with weights, separated by spaces. */
export function lorasFromAttribute(value: string): readonly LoraSetting[] | undefined {
  return lorasFromUnknown(
    value
      .split(/\s+/)
      .filter((text) => text !== '')
      .map(parseLoraReference),
  )
}

/** Matches a LoRA as other programs write it into a prompt. Some add a second weight, for the text encoder. */
const inPrompt = /<(?:lora|lyco):([^:<>]+):(-?\d*\.?\d+)(?::[^<>]*)?>/g

/** The LoRAs that another program wrote into a prompt: names of files, which Aquatint does not have. */
export function lorasFromPrompt(prompt: string): readonly LoraSetting[] | undefined {
  return lorasFromUnknown(
    [...prompt.matchAll(inPrompt)].map(([, name, weight]) => ({ source: `${name}.safetensors`, weight: Number(weight) })),
  )
}

/** The text of a prompt without the LoRAs that another program wrote into it. */
export function withoutLoras(prompt: string): string {
  return prompt.replaceAll(inPrompt, '').trim()
}

/** Writes LoRAs as other programs write them in a prompt: `<lora:name:0.8>`. */
export function lorasInPrompt(loras: readonly LoraSetting[] = []): string {
  return loras.map(({ source, weight }) => `<lora:${loraName(source).replace(/\.safetensors$/, '')}:${weight}>`).join('')
}
