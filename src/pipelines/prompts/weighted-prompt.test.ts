/**
 * Compares both grammars of prompt weights with compel's parser and with the web UI's rule written in Python, which parsed the same texts
 * (fixtures/prompts/grammar.json).
 */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { fixtures } from '../testing.node.js'
import type { PromptWeighting } from '../types.js'
import { parseWeights } from './weighted-prompt.js'

interface Case {
  readonly rule: PromptWeighting
  readonly text: string
  /** The sections between BREAKs: each is a list of parts with their weights. */
  readonly parsed: readonly (readonly (readonly [text: string, weight: number])[])[]
}

const cases = JSON.parse(readFileSync(join(fixtures, 'prompts', 'grammar.json'), 'utf8')) as Case[]

/** What a tokenizer sees: white space separates words, and parts without text have no tokens. Weights are rounded, because powers of 1.1 may differ in their last bit. */
const seen = (sections: Case['parsed']) =>
  sections.map((section) =>
    section
      .map(([text, weight]) => [text.trim().replaceAll(/\s+/g, ' '), Number(weight.toPrecision(12))] as const)
      .filter(([text]) => text !== ''),
  )

test.each(['a1111', 'compel'] as const)('%s: texts have the parts and weights of the other parser', (rule) => {
  const own = cases.filter((item) => item.rule === rule)
  expect(own.length).toBeGreaterThan(100)
  for (const { text, parsed } of own) {
    const sections = parseWeights(text, rule).map((section) => section.map((part) => [part.text, part.weight] as const))
    expect(seen(sections), text).toEqual(seen(parsed))
  }
})

test('brackets inside brackets a thousand deep are read', () => {
  expect(parseWeights(`${'('.repeat(1000)}a${')'.repeat(1000)}`, 'a1111')[0]?.[0]?.text).toBe('a')
  expect(
    parseWeights(`${'('.repeat(1000)}a${')'.repeat(1000)}`, 'compel')[0]
      ?.map((part) => part.text)
      .join(''),
  ).toContain('a')
  expect(parseWeights('"('.repeat(1000), 'compel')[0]?.map((part) => part.weight)).toEqual([1])
})
