/** Helpers for the tests of the command line: running a command in this process, temporary folders, fixtures. Not part of the tool. */

import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll } from 'vitest'
import { main } from './main.js'
import type { CommandIO } from './output.js'

export const fixtures = fileURLToPath(new URL('../fixtures/', import.meta.url))

export interface Outcome {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

type RunOptions = Partial<CommandIO> & { readonly onStderr?: (text: string) => void }

/** Runs a command line. `onStderr` receives each text when it is written, and may abort the command. */
export async function run(args: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  let [stdout, stderr] = ['', '']
  const code = await main(args, {
    stdout: (text) => (stdout += text),
    stderr: (text) => {
      stderr += text
      options.onStderr?.(text)
    },
    isTerminal: false,
    columns: 80,
    signal: new AbortController().signal,
    ...options,
  })
  return { code, stdout, stderr }
}

/** Runs a command with `--json` and returns the document. */
export async function runJson<T>(
  args: readonly string[],
  options: RunOptions = {},
): Promise<T & { readonly ok: boolean; readonly error: { readonly code: string; readonly message: string } }> {
  const { stdout } = await run([...args, '--json'], options)
  return JSON.parse(stdout) as T & { ok: boolean; error: { code: string; message: string } }
}

/** A folder for one test file, removed when its tests are done. */
export async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'aquatint-'))
  afterAll(() => rm(folder, { recursive: true }))
  return folder
}

/** Every file below a folder by its path, sorted. */
export async function filesBelow(folder: string): Promise<ReadonlyMap<string, Buffer>> {
  const names = await readdir(folder, { recursive: true, withFileTypes: true })
  const paths = names
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
  return new Map(await Promise.all(paths.toSorted().map(async (path) => [path, await readFile(join(folder, path))] as const)))
}

/** A safetensors file of float32 vectors. */
export function float32File(tensors: Readonly<Record<string, readonly number[]>>): Uint8Array {
  let at = 0
  const header: Record<string, unknown> = {}
  for (const [name, values] of Object.entries(tensors)) {
    header[name] = { dtype: 'F32', shape: [values.length], data_offsets: [at, at + 4 * values.length] }
    at += 4 * values.length
  }
  const json = Buffer.from(JSON.stringify(header))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(json.byteLength))
  return Buffer.concat([length, json, new Uint8Array(Float32Array.from(Object.values(tensors).flat()).buffer)])
}
