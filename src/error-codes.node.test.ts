/** Compares the list of error codes with the source: a code that is thrown is listed, and a listed code is thrown. */

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { commandErrorCodes, errorCodes } from './error-codes.js'

function sources(folder: string): string {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.ts') && !/\btest\.ts$|^error-codes\.ts$/.test(path))
    .map((path) => readFileSync(join(folder, path), 'utf8'))
    .join('\n')
}

const library = sources('src')
const everything = `${library}\n${sources('cli')}`

const listed: Readonly<Record<string, object>> = {
  ...commandErrorCodes,
  ...Object.fromEntries(
    Object.entries(errorCodes).map(([kind, codes]) => [
      kind,
      { ...codes, ...(commandErrorCodes as Record<string, object>)[kind] },
    ]),
  ),
}

test('every code that is thrown is listed under its class', () => {
  const thrown = [...everything.matchAll(/new (\w+Error)\(\s*'([a-z0-9-]+)'/g)]
    .map(([, kind = '', code = '']) => ({ kind, code }))
    .filter(({ kind }) => kind in listed)
  expect(thrown.length).toBeGreaterThan(100)
  expect(thrown.filter(({ kind, code }) => !(code in (listed[kind] ?? {})))).toEqual([])
})

function unused(lists: Readonly<Record<string, object>>, source: string): string[] {
  return Object.entries(lists).flatMap(([kind, codes]) =>
    Object.keys(codes)
      .filter((code) => !source.includes(`'${code}'`))
      .map((code) => `${kind} ${code}`),
  )
}

test('every listed code is thrown: by the library, or for codes of the command line by the command', () => {
  expect(unused(errorCodes, library)).toEqual([])
  expect(unused(commandErrorCodes, everything)).toEqual([])
})

test('every description is one line that a table can hold', () => {
  for (const lists of [errorCodes, commandErrorCodes]) {
    for (const text of Object.values(lists).flatMap((codes) => Object.values<string>(codes))) expect(text).toMatch(/^[^|\n]+\.$/)
  }
})
