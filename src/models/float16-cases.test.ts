/** Checks that the float16 tests cover all classes and fixtures that need them: a new class or fixture without a case fails here. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { networkDefinitions } from './registry.js'

const fixtures = fileURLToPath(new URL('../../fixtures', import.meta.url))
const read = (path: string): unknown => JSON.parse(readFileSync(join(fixtures, path), 'utf8'))
type Cases = readonly { readonly className: string; readonly largest: number | null }[]
const cases = [...(read('float16-networks/cases.json') as Cases), ...(read('float16-networks/massive.json') as Cases)]

/** Classes that write the same blocks as another one. */
const sameBlocks: Readonly<Record<string, string>> = {
  CLIPTextModel: 'CLIPTextModelWithProjection',
  Qwen3Model: 'Qwen3ForCausalLM',
}

test('every class with a residual stream in float32 has a case in which the stream passes the largest number of float16', () => {
  const massive = new Set(cases.filter(({ largest }) => (largest ?? 0) > 65_504).map(({ className }) => className))
  const needed = networkDefinitions.filter(({ residual }) => residual === 'float32').map(({ className }) => className)
  expect(needed.length).toBeGreaterThan(8)
  expect(needed.filter((className) => !massive.has(sameBlocks[className] ?? className))).toEqual([])
})

test('every fixture of a pipeline has PyTorch’s own float16 errors', () => {
  const folders = ['', 'few-steps/'].flatMap((parent) => readdirSync(join(fixtures, parent)).map((name) => parent + name))
  const pipelines = folders.filter((folder) => existsSync(join(fixtures, folder, 'case.json')))
  expect(pipelines.length).toBeGreaterThan(14)
  const known = Object.keys(read('float16.json') as object)
  expect(pipelines.filter((name) => !known.includes(name))).toEqual([])
})
