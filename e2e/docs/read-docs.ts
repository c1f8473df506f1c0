/** Reads the documents and their snippets. docs/api.md is left out, because a script generates it from the types and checks it. */

import { readdirSync, readFileSync } from 'node:fs'

/** One fenced block. */
export interface Snippet {
  readonly file: string
  /** Line of the fence. */
  readonly line: number
  /** The language named after the fence. */
  readonly language: string
  readonly code: string
}

/** The documents' paths, relative to the project's folder. */
export const documents: readonly string[] = [
  'README.md',
  'CONTRIBUTING.md',
  ...readdirSync('docs')
    .filter((name) => name.endsWith('.md') && name !== 'api.md')
    .map((name) => `docs/${name}`),
]

/** Returns every snippet of every document, or only those in `languages`. */
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

/** Returns the only snippet in `languages` that contains `text`. @throws Error when there is none, or more than one */
export function findSnippet(text: string, ...languages: readonly string[]): Snippet {
  const [found, ...more] = readSnippets(...languages).filter(({ code }) => code.includes(text))
  if (found === undefined || more.length > 0)
    throw new Error(`${found === undefined ? 'No' : 'More than one'} snippet has ${text}`)
  return found
}
