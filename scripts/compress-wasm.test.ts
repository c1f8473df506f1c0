import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { expect, onTestFinished, test, vi } from 'vitest'
import { compressWasm } from './compress-wasm.mjs'

const limit = 25 * 2 ** 20

/** Runs the plugin on a build with the files. Returns its warnings. */
function run(files: Readonly<Record<string, Uint8Array | string>>): { readonly dir: string; readonly warnings: string[] } {
  const dir = mkdtempSync(join(tmpdir(), 'aquatint-build-'))
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }))
  for (const [name, content] of Object.entries(files)) writeFileSync(join(dir, name), content)
  const warn = vi.fn<(words: string) => void>()
  const { writeBundle } = compressWasm()
  if (typeof writeBundle !== 'function') throw new Error('The plugin does not act on the written build')
  Reflect.apply(writeBundle, { warn }, [{ dir }, files])
  return { dir, warnings: warn.mock.calls.map(([words]) => words) }
}

test('a build keeps a WebAssembly file of more than 25 MiB compressed, and its scripts request the compressed file', () => {
  const wasm = new Uint8Array(limit + 1).fill(7)
  const { dir, warnings } = run({ 'a.wasm': wasm, 'b.wasm': new Uint8Array(8), 'main.js': 'load("a.wasm", "b.wasm")' })
  expect(readdirSync(dir).toSorted()).toEqual(['a.wasm.gz.bin', 'b.wasm', 'main.js'])
  expect(gunzipSync(readFileSync(join(dir, 'a.wasm.gz.bin'))).equals(wasm)).toBe(true)
  expect(readFileSync(join(dir, 'main.js'), 'utf8')).toBe('load("a.wasm.gz.bin", "b.wasm")')
  expect(warnings).toEqual([])
})

test('a build names any other file of more than 25 MiB, and no file of exactly that', () => {
  const { dir, warnings } = run({ 'large.bin': new Uint8Array(limit + 1), 'limit.bin': new Uint8Array(limit) })
  expect(readdirSync(dir).toSorted()).toEqual(['large.bin', 'limit.bin'])
  expect(warnings).toEqual([expect.stringMatching(/^large\.bin has 25\.0 MiB/)])
})
