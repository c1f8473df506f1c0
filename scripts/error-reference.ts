/**
 * `npm run docs:errors`: writes docs/errors.md from the list of error codes and the doc comments of the error classes. With `--check` it
 * writes nothing and fails if the file differs from what it would write.
 */

import { readFileSync, writeFileSync } from 'node:fs'
import { commandErrorCodes, errorCodes } from '../src/error-codes.js'

const page = 'docs/errors.md'

const intro = `# Errors

This page is generated from \`src/error-codes.ts\` by \`npm run docs:errors\`; edit that file, not this page.

Every error that Aquatint throws on purpose is an \`AquatintError\` of one of the classes below. \`error.code\` names the exact case,
\`error.message\` explains it to people, and \`error.details\` holds the values involved. A cancelled call rejects with the reason of its
signal instead, by default an \`AbortError\`.

Test for a case with \`isAquatintError(error, 'does-not-fit', 'out-of-memory')\`, and for a class with \`error.name\`. TypeScript then knows
the \`details\` of the codes in [\`DetailsByCode\`](api.md): \`error.details.needed\` of \`does-not-fit\`, for example.
\`isAquatintError\` also recognizes the errors of a second copy of the library on the same page, such as the one inside \`element.js\`;
\`instanceof\` does not.
`

/** Writes the page, or checks it. Returns the exit code. */
export function main(args: readonly string[]): number {
  const text = errorReference()
  if (!args.includes('--check')) {
    writeFileSync(page, text)
    return 0
  }
  if (readFileSync(page, 'utf8') === text) return 0
  console.error(`${page} is out of date: run "npm run docs:errors".`)
  return 1
}

function errorReference(): string {
  const about = classComments()
  const sections = Object.entries(errorCodes)
    .filter(([, codes]) => Object.keys(codes).length > 0)
    .map(([kind, codes]) => `## ${kind}\n\n${about.get(kind) ?? ''}\n\n${table(Object.entries(codes))}`)
  const commands = Object.entries(commandErrorCodes).flatMap(([kind, codes]) =>
    Object.entries(codes).map(([code, text]) => [`${code}\` | \`${kind}`, text] as const),
  )
  const command = `## Command line\n\nOnly the command \`aquatint\` throws these.\n\n${table(commands, ' class |', ' --- |')}`
  return [intro, ...sections, command].join('\n')
}

function table(rows: readonly (readonly [code: string, text: string])[], heading = '', rule = ''): string {
  const lines = rows.map(([code, text]) => `| \`${code}\` | ${text} |\n`)
  return `| code |${heading} when it occurs, and what to do |\n| --- |${rule} --- |\n${lines.join('')}`
}

/** The doc comment of each error class. */
function classComments(): ReadonlyMap<string, string> {
  const source = readFileSync('src/errors.ts', 'utf8')
  return new Map([...source.matchAll(/\/\*\* (.+) \*\/\nexport class (\w+)/g)].map(([, text = '', name = '']) => [name, text]))
}
