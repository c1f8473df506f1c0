/** Reads and writes the tables in docs/ that benchmarks generate; each is between two comments. */

import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** The sections, each with its page and the command that writes it. */
const sections = {
  tables: { page: 'docs/memory-figures.md', command: 'npm run bench:memory -- --tables --write' },
  budgets: { page: 'docs/memory-figures.md', command: 'npm run bench:memory -- --tables --write' },
  options: { page: 'docs/memory.md', command: 'npm run bench:memory -- --tables --write' },
  measured: { page: 'docs/memory-figures.md', command: 'npm run bench:memory -- --write' },
  quality: {
    page: 'docs/quantization.md',
    command: 'node scripts/run.mjs bench/quantization-quality.ts --fixtures --write',
  },
} as const

/** Returns the contents of a section. */
export function readSection(name: keyof typeof sections): string {
  return split(name).content
}

/** Replaces the contents of a section. */
export function writeSection(name: keyof typeof sections, content: string): void {
  const { before, after } = split(name)
  writeFileSync(pathOf(name), before + content + after)
}

function pathOf(name: keyof typeof sections): string {
  return fileURLToPath(new URL(`../../${sections[name].page}`, import.meta.url))
}

function split(name: keyof typeof sections): { readonly before: string; readonly content: string; readonly after: string } {
  const text = readFileSync(pathOf(name), 'utf8')
  const begin = `<!-- ${name}: ${sections[name].command} -->\n\n`
  const from = text.indexOf(begin)
  const to = text.indexOf(`\n\n<!-- end of ${name} -->`, from)
  if (from < 0 || to < 0) throw new Error(`${sections[name].page} has no section for the ${name}`)
  const at = from + begin.length
  return { before: text.slice(0, at), content: text.slice(at, to), after: text.slice(to) }
}
