/** The documents that people read, and the snippets in them. docs/api.md is left out: a script makes it from the types, and checks it. */

import { readdirSync, readFileSync } from 'node:fs'

/** One fenced block. */
export interface Snippet {
  readonly file: string
  /** Line of the fence. */
  readonly line: number
  /** The word behind the fence. */
  readonly language: string
  readonly code: string
}

/** Paths from the project's folder. */
export const documents: readonly string[] = [
  'README.md',
  'CONTRIBUTING.md',
  ...readdirSync('docs')
    .filter((name) => name.endsWith('.md') && name !== 'api.md')
    .map((name) => `docs/${name}`),
]

/** Every snippet of every document, or those in some languages. */
export function readSnippets(...languages: readonly string[]): readonly Snippet[] {
  return documents.flatMap((file) => {
    const text = readFileSync(file, 'utf8')
    return [...text.matchAll(/^```([^\n]*)\n(.*?)^```$/gms)]
      .map(({ index, 1: language = '', 2: code = '' }) => ({
        file,
        line: text.slice(0, index).split('\n').length,
        language,
        code,
      }))
      .filter(({ language }) => languages.length === 0 || languages.includes(language))
  })
}

/** The one snippet in these languages that contains `text`. @throws Error when there is none, or more than one */
export function findSnippet(text: string, ...languages: readonly string[]): Snippet {
  const [found, ...more] = readSnippets(...languages).filter(({ code }) => code.includes(text))
  if (found === undefined || more.length > 0)
    throw new Error(`${found === undefined ? 'No' : 'More than one'} snippet has ${text}`)
  return found
}
