import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { memoryRows, type MemoryChoice } from './memory-choices.js'

const figures = readFileSync(new URL('../../../docs/memory-figures.md', import.meta.url), 'utf8')

/** The peak of a choice in the table of docs/memory-figures.md. */
function documented({ label, dtype, residence }: MemoryChoice): string | undefined {
  const start = figures.indexOf(`**${label}**`)
  const lines = figures.slice(start, figures.indexOf('\n\n**', start + 1)).split('\n')
  const columns = lines
    .find((line) => line.startsWith('|  |'))
    ?.split('|')
    .map((cell) => cell.trim())
  const row = lines.find((line) => line.startsWith(`| **peak, \`${residence}\`, in tiles of 32**`))?.split('|')
  return row?.[columns?.indexOf(dtype) ?? -1]?.replaceAll('*', '').trim()
}

test.each(memoryRows.flatMap(({ memoryGb, choices }) => choices.map((choice) => [memoryGb, choice] as const)))(
  'the choice for %i GB has the documented peak: %j',
  (memoryGb, choice) => {
    expect(documented(choice)).toBe(choice.peak)
    expect(choice.peak).toMatch(/ GB$/)
    expect(Number(choice.peak.split(' ')[0])).toBeLessThanOrEqual(memoryGb - 1)
  },
)
