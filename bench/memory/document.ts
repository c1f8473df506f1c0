/** Reads and writes the generated tables in docs/memory-figures.md; each is between two comments. */

import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const path = fileURLToPath(new URL('../../docs/memory-figures.md', import.meta.url))
/** The sections, each with the command that writes it. */
const sections = {
  tables: 'npm run bench:memory -- --tables --write',
  measured: 'npm run bench:memory -- --write',
} as const

/** Returns the contents of a section. */
export function readSection(name: keyof typeof sections): string {
  return split(name).content
}

/** Replaces the contents of a section. */
export function writeSection(name: keyof typeof sections, content: string): void {
  const { before, after } = split(name)
  writeFileSync(path, before + content + after)
}

function split(name: keyof typeof sections): { readonly before: string; readonly content: string; readonly after: string } {
  const text = readFileSync(path, 'utf8')
  const begin = `<!-- ${name}: ${sections[name]} -->\n\n`
  const from = text.indexOf(begin)
  const to = text.indexOf(`\n\n<!-- end of ${name} -->`, from)
  if (from < 0 || to < 0) throw new Error(`docs/memory-figures.md has no section for the ${name}`)
  const at = from + begin.length
  return { before: text.slice(0, at), content: text.slice(at, to), after: text.slice(to) }
}
